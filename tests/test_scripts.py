"""The examples for clusters start real processes, with the scheduler's part played here."""

import os
import random
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from support.commands import ENVIRONMENT
from vkd.recipe import recipe
from vkd.training.records import read_metrics

SCRIPTS = Path(__file__).parents[1] / "scripts"
FLAGS = ("--epochs=1", "--warmup-epochs=0", "--device=cpu", "--trackers=", "--method=none",
         "--feature-weight=0")  # fmt: skip
# Runs a command once for each machine, and passes on that it shall end; every argument is kept.
SRUN = """#!/usr/bin/env bash
trap 'kill -TERM $(jobs -p)' TERM
while [[ $1 == --* ]]; do echo "$1" >> options; shift; done
echo "$*" >> commands
"$@" & "$@" & wait -n && wait -n
"""
SCONTROL = """#!/usr/bin/env bash
echo "$*" >> control
[[ $1 == show ]] && echo 127.0.0.1
exit 0
"""

# Both machines' processes run before either passes Slurm's warning on, so that the job gets two.
WARNING = """#!/usr/bin/env bash
touch running.$$
until [[ $(ls running.* | wc -l) == 2 ]]; do sleep 0.05; done
kill -USR1 "$(ps -o ppid= -p $PPID)"
exec sleep 60
"""


@pytest.fixture
def slurm(tmp_path):
    """Run slurm.sh as Slurm would on two machines, without torchrun where it is told a stand-in."""
    (tmp_path / "bin").mkdir()

    def run(*arguments, torchrun="", **environment):
        programs = {"srun": SRUN, "scontrol": SCONTROL} | (
            {"torchrun": torchrun} if torchrun else {}
        )
        for name, text in programs.items():
            file = tmp_path / "bin" / name
            file.write_text(text)
            file.chmod(0o755)
        path = os.pathsep.join([str(tmp_path / "bin"), str(Path(sys.executable).parent)])
        job = {
            "PATH": path + os.pathsep + os.environ["PATH"], "SLURM_JOB_NODELIST": "node[1-2]",
            "SLURM_JOB_NUM_NODES": "2", "SLURM_CPUS_PER_TASK": "3",
            "SLURM_JOB_ID": str(random.randrange(10000)),
        }  # fmt: skip
        return subprocess.run(
            ["bash", str(SCRIPTS / "slurm.sh"), *map(str, arguments)],
            capture_output=True, text=True, cwd=tmp_path, env=ENVIRONMENT | job | environment,
        )  # fmt: skip

    return run


def test_the_shell_script_is_valid():
    assert subprocess.run(["bash", "-n", SCRIPTS / "slurm.sh"]).returncode == 0


def test_slurm_goes_on_only_where_a_job_was_queued_again(slurm, tmp_path):
    printing = '#!/usr/bin/env bash\necho "$*"\n'
    first = slurm("train", "digits", torchrun=printing)
    again = slurm("train", "digits", torchrun=printing, SLURM_RESTART_COUNT="1")
    store = slurm("cache", "digits", torchrun=printing, SLURM_RESTART_COUNT="1")
    assert [done.returncode for done in (first, again, store)] == [0, 0, 0]
    ends = [done.stdout.splitlines()[0].split(" -m ")[1] for done in (first, again, store)]
    assert ends == ["vkd train digits", "vkd train digits --auto-resume", "vkd cache digits"]
    assert "--cpus-per-task=3" in (tmp_path / "options").read_text()


def test_slurm_queues_the_job_again_before_its_time_is_up(slurm, tmp_path):
    slurm("train", "digits", torchrun=WARNING, SLURM_JOB_ID="77")
    assert (tmp_path / "control").read_text().splitlines().count("requeue 77") == 1


def test_slurm_fails_as_its_processes_do(slurm):
    assert slurm("train", "digits", torchrun="#!/usr/bin/env bash\nexit 3\n").returncode == 3


@pytest.mark.slow
def test_slurm_trains_on_two_machines(slurm, tmp_path):
    done = slurm("train", "digits", *FLAGS, "--output=run", SLURM_GPUS_ON_NODE="1")
    assert done.returncode == 0, done.stderr
    (record,) = read_metrics(tmp_path / "run")
    assert record["updates"] == 718 // 2 // recipe("digits").batch_size


def kubernetes():
    """The service and the job of the example."""
    return list(yaml.safe_load_all((SCRIPTS / "kubernetes.yaml").read_text()))


def test_the_parts_of_the_kubernetes_job_fit_each_other():
    service, job = kubernetes()
    pods = job["spec"]["template"]["spec"]
    (container,) = pods["containers"]
    flags = dict(re.findall(r"--(\w+)=(\S+)", " ".join(container["command"])))
    name = job["metadata"]["name"]
    # An indexed job's pods are called so; the service makes the names known.
    assert flags["master_addr"] == f"{name}-0.{service['metadata']['name']}"
    assert pods["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["selector"] == {"batch.kubernetes.io/job-name": name}
    assert service["spec"]["ports"][0]["port"] == int(flags["master_port"])
    assert int(flags["nnodes"]) == job["spec"]["completions"] == job["spec"]["parallelism"]
    assert int(flags["nproc_per_node"]) == container["resources"]["limits"]["nvidia.com/gpu"]
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounted.keys() == {volume["name"] for volume in pods["volumes"]}
    command = " ".join(container["command"])
    assert f"={mounted['data']}/" in command
    assert f"={mounted['runs']}/" in command


@pytest.mark.slow
def test_the_kubernetes_command_trains_on_two_machines(tmp_path):
    _, job = kubernetes()
    command = job["spec"]["template"]["spec"]["containers"][0]["command"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    changes = {
        "--nproc_per_node": "1", "--master_addr": "127.0.0.1", "--master_port": str(port),
        "--data-path": "", "--batch-size": "32", "--output": str(tmp_path / "run"),
    }  # fmt: skip
    words = ["digits" if word == "deit-tiny-imagenet" else word for word in command]
    words = [
        f"{flag}={changes[flag]}" if (flag := word.split("=")[0]) in changes else word
        for word in words
    ]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    pods = [
        subprocess.Popen(
            [word.replace("$(JOB_COMPLETION_INDEX)", index) for word in words] + list(FLAGS),
            env=ENVIRONMENT | {"PATH": path}, stderr=subprocess.PIPE, text=True,
        )
        for index in "01"
    ]  # fmt: skip
    errors = [pod.communicate()[1] for pod in pods]
    assert [pod.returncode for pod in pods] == [0, 0], errors
    (record,) = read_metrics(tmp_path / "run")
    assert record["updates"] == 718 // 2 // 32
