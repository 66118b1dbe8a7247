"""``vkd bench``, on real runs."""

import json
import shutil
from math import prod

import pytest
import torch
from safetensors import safe_open

import vkd
from vkd.api.bench import bench
from vkd.speed import runtimes
from vkd.tensor_files import save_tensors

QUICK = {"batch_sizes": (1, 3), "rounds": 5, "seconds": 0.0}


def parameters_in(run):
    with safe_open(run / "model.safetensors", "pt") as file:
        # Of the CNN's norms neither averages nor counts are parameters.
        names = [n for n in file.keys() if "running" not in n and "tracked" not in n]  # noqa: SIM118
        return sum(prod(file.get_slice(name).get_shape()) for name in names)


@pytest.mark.slow
def test_student_and_teacher_take_turns_in_all_runtimes(digits_run, digits_teacher):
    found = bench(digits_run, "teacher", **QUICK)
    student, teacher = found.networks
    assert (student.name, teacher.name) == ("conv_vit_digits", "cnn_digits")
    assert student.parameters == parameters_in(digits_run)
    assert teacher.parameters == parameters_in(digits_teacher)
    assert student.file_bytes == (digits_run / "model.safetensors").stat().st_size
    assert teacher.file_bytes == (digits_teacher / "model.safetensors").stat().st_size
    assert student.inputs == {"images": [1, 8, 8]}
    evaluated = vkd.evaluate(str(digits_run))
    assert (student.parameters, student.macs) == (evaluated["parameters"], evaluated["macs"])
    places = {(t.network, t.runtime, t.batch_size) for t in found.timings}
    networks, kinds = ("student", "against"), ("pytorch", "onnxruntime")
    assert places == {(n, r, b) for n in networks for r in kinds for b in (1, 3)}
    assert all(len(timing.seconds) == 5 for timing in found.timings)
    assert {(r.runtime, r.batch_size) for r in found.ratios} == {
        (r, b) for r in kinds for b in (1, 3)
    }
    assert found.notes == []


def test_a_result_is_printed_and_kept(vkd, digits_run, tmp_path):
    run, file = tmp_path / "run", tmp_path / "new" / "bench.json"
    shutil.copytree(digits_run, run)
    quick = ("--batch-sizes", 2, "--rounds", 2, "--seconds", 0, "--threads", 1, "--onnx", "false")
    shown = vkd("bench", "--checkpoint", run, *quick, "--save", "--output", file)
    assert shown.returncode == 0, shown.stderr
    assert "conv_vit_digits" in shown.stdout
    assert "threads: 1" in shown.stdout
    found = json.loads(file.read_text())
    assert found == json.loads((run / "bench.json").read_text())
    assert found["schema"] == 1
    assert found["threads"] == 1
    (timing,) = found["timings"]
    speed = 1000 * 2 / timing["latency_ms"]["median"]
    assert timing["images_per_second"] == pytest.approx(speed, rel=1e-3)
    assert found["environment"]["torch"] == torch.__version__
    again = vkd("bench", "--checkpoint", run, *quick, "--save")
    assert again.returncode == 2
    assert "exists already" in again.stderr
    printed = vkd("bench", "--checkpoint", run, *quick, "--json")
    assert json.loads(printed.stdout)["networks"][0]["label"] == "student"


def test_a_generator_and_a_detector_are_measured_alike(gan_run, tmp_path):
    generator = bench(gan_run, onnx=False, **QUICK)
    assert list(generator.networks[0].inputs) == ["noise", "labels"]
    weights = tmp_path / "detector.safetensors"
    detector = vkd.create_model("vidt_digits")
    save_tensors(detector.state_dict(), weights, {"architecture": "vidt_digits"})
    found = bench(weights, recipe="digits-detection", onnx=False, batch_sizes=(2,), rounds=1)
    assert found.networks[0].inputs == {"images": [3, 64, 64], "mask": [64, 64]}


def test_an_exported_file_is_measured_in_onnx_runtime_alone(digits_run, tmp_path):
    exported = tmp_path / "student.onnx"
    vkd.export(str(digits_run), exported)
    found = bench(digits_run, exported, **QUICK)
    assert found.networks[1].parameters is None
    assert found.networks[1].file_bytes == exported.stat().st_size
    assert found.networks[1].inputs == found.networks[0].inputs
    assert {ratio.runtime for ratio in found.ratios} == {"onnxruntime"}
    alone = bench(exported, **QUICK)
    assert {timing.runtime for timing in alone.timings} == {"onnxruntime"}


def test_a_name_stands_for_a_network_with_random_weights(digits_run):
    found = bench(digits_run, "test_vit", onnx=False, **QUICK)
    assert found.networks[1].name == "test_vit"
    # Of a network that takes one size only, that size.
    assert found.networks[1].inputs == {"images": [3, 160, 160]}
    assert any("random weights" in note for note in found.notes)


def test_networks_of_files_of_python_and_objects_are_measured_where_they_are_named(
    digits_run, tmp_path
):
    code = tmp_path / "own.py"
    code.write_text(
        "import timm\n\ndef small(**options):\n"
        "    return timm.create_model('test_vit', **options)\n"
    )
    found = bench(digits_run, f"{code}:small", onnx=False, **QUICK)
    assert found.networks[1].parameters > 300_000
    own = bench(digits_run, student=vkd.create_model("conv_vit_digits"), onnx=False, **QUICK)
    assert own.networks[0].parameters == found.networks[0].parameters


def test_without_onnx_the_rest_is_measured_and_it_is_said(digits_run, monkeypatch, vkd):
    monkeypatch.setattr(runtimes, "_PACKAGES", ("onnx", "a_package_that_is_not_there"))
    quick = ("--batch-sizes", 1, "--rounds", 1, "--seconds", 0)
    done = vkd("bench", "--checkpoint", digits_run, *quick, "--json")
    assert {timing["runtime"] for timing in json.loads(done.stdout)["timings"]} == {"pytorch"}
    assert done.stderr.count("pip install 'vkd[onnx]'") == 1


@pytest.mark.slow
def test_a_compiled_network_takes_its_turn(digits_run):
    found = bench(digits_run, batch_sizes=(2,), compile=True, onnx=False, rounds=2, seconds=0)
    assert [timing.runtime for timing in found.timings] == ["pytorch", "compiled"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--batch-sizes", "0"), "--batch-sizes must be numbers from 1 to 1024, found 0."),
        (("--batch-sizes", "1,x"), "--batch-sizes must be whole numbers with commas between"),
        (("--device", "cuda"), "--device cuda is not available here"),
        (("--device", "tpu"), "--device must be one of auto, cpu, cuda, mps, found tpu."),
        (("--threads", "-1"), "--threads must be from 0 to 1,024, found -1."),
        (("--rounds", "0"), "--rounds must be from 1 to 1,000,000,000, found 0."),
        (("--height", "-8"), "--height must be from 0 to 16,384, found -8."),
        (("--height", "3"), "The model does not take inputs of (1, 1, 3, 8) (--height, --width)"),
        (("--against", "no_such_network"), "--against"),
        (("--recipe", "no-such-recipe"), "There is no recipe"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_a_sentence(digits_run, vkd, arguments, sentence):
    if "cuda" in arguments and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    done = vkd("bench", "--checkpoint", digits_run, *arguments)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert sentence in line
    assert len(line) <= 300


def test_images_that_are_too_large_and_absent_files_are_told(digits_run, vkd, tmp_path):
    side = ("--height", 3_000_000, "--width", 3_000_000)
    done = vkd("bench", "--checkpoint", digits_run, "--onnx", "false", *side)
    assert done.returncode == 2
    assert "--height must be from 0 to 16,384, found 3000000" in done.stderr.splitlines()[-1]
    absent = vkd("bench", "--checkpoint", tmp_path / "absent")
    assert (absent.returncode, "There is no checkpoint" in absent.stderr) == (2, True)
    weights = digits_run / "model.safetensors"
    kept = vkd("bench", "--checkpoint", weights, "--save")
    assert (kept.returncode, "needs a run folder" in kept.stderr) == (2, True)
