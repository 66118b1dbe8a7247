"""Running commands: in processes of their own, and in this one."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import chdir, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

from vkd.cli import main

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}
TESTS = Path(__file__).parents[1]
PAPER = TESTS.parent / "paper"
# With which scripts find the tests' packages beside the source.
SEARCH_PATH = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])


def run_python(*arguments, cwd=None, **environment):
    """Run Python in a real process and return it, finished, with its output."""
    command = [sys.executable, *map(str, arguments)]
    environment = ENVIRONMENT | environment
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment)


def run_process(*arguments, cwd=None):
    """Run ``python -m vkd``."""
    return run_python("-m", "vkd", *arguments, cwd=cwd)


def run_processes(*arguments, processes=2):
    """Run a script, or ``-m module ...``, with torchrun and return what it prints."""
    launcher = ("-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}")
    done = run_python(*launcher, *arguments, PYTHONPATH=SEARCH_PATH)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def run_here(*arguments, cwd=None):
    """Run ``vkd`` in this process; returns what ``run_process`` does."""
    return _captured(arguments, lambda: main([str(word) for word in arguments]), cwd)


def run_release(script, *arguments, cwd=PAPER):
    """Run the ``main`` of one of ``paper/``'s commands in this process, likewise."""
    before = sys.argv
    sys.argv = [script.__file__, *map(str, arguments)]
    try:
        return _captured(sys.argv, script.main, cwd)
    finally:
        sys.argv = before


def launch_release(script, *arguments, processes=1, port=12349):
    """Run a command of the release by torch's launcher, as its users do.

    Args:
        script: its path in ``paper/``.
        arguments: of the command.
        processes: on this machine.
        port: another for each test, as tests run side by side.
    """
    launcher = ("-m", "torch.distributed.launch", "--master_port", port)
    launcher += (f"--nproc_per_node={processes}",)
    file = PAPER / script
    return run_python(*launcher, file.name, *arguments, cwd=file.parent)


def kill_release(script, *arguments, until):
    """Run a command of the release in a process, and kill it once a file or folder is there.

    Returns:
        What it wrote on standard error before.
    """
    file = PAPER / script
    command = [sys.executable, file.name, *map(str, arguments)]
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=errors, cwd=file.parent, env=ENVIRONMENT
        ) as process,
    ):
        while process.poll() is None and not until.exists():
            time.sleep(0.02)
        process.kill()
        process.wait()
        errors.seek(0)
        text = errors.read()
    assert process.returncode == -signal.SIGKILL, text
    return text


def _captured(arguments, run, cwd):
    out, err = StringIO(), StringIO()
    with chdir(cwd or "."), redirect_stdout(out), redirect_stderr(err):
        code = run()
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())
