"""Real processes (gloo) agree with one."""

import math
import re

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from support.commands import run_python
from support.two_processes import distiller_batches, even_training, fit, make_distiller
from vkd import standardize, whiten
from vkd.api.train import train
from vkd.training.records import read_metrics


def loaded(folder, name):
    """What each of two processes saved."""
    return [torch.load(folder / f"{name}-{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.slow
def test_statistics_across_processes_equal_those_of_the_whole_batch(two_processes):
    whole = torch.randn(7, 5, generator=torch.Generator().manual_seed(0)) * 2 + 1
    whole.requires_grad_()
    expected = standardize(whole)
    (expected**3).sum().backward()
    parts = loaded(two_processes, "statistics")
    found, gradient, white = (torch.cat(column) for column in zip(*parts, strict=True))
    torch.testing.assert_close(found, expected.detach())
    torch.testing.assert_close(gradient, whole.grad, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(white, whiten(whole.detach()), atol=1e-4, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "compiled"])
def test_distributed_training_of_a_distiller_equals_one_process(two_processes, kind):
    alone = make_distiller()
    fit(alone, distiller_batches())
    for together in loaded(two_processes, f"distiller-{kind}"):
        for name, weight in alone.state_dict().items():
            torch.testing.assert_close(together[name], weight, atol=1e-5, rtol=1e-4, msg=name)


def curves(run):
    """Training losses of all epochs, and validation losses."""
    records = read_metrics(run)
    scores = [record["validation"]["loss"] for record in records if "validation" in record]
    return [record["train"]["loss"] for record in records], scores


@pytest.mark.slow
def test_two_processes_train_as_one_with_the_same_global_batch(
    two_processes, digits_teacher, tmp_path
):
    train(even_training(digits_teacher, 64), tmp_path / "one", show=False)
    train(even_training(digits_teacher, 32, 2), tmp_path / "accumulated", show=False)
    curve, _ = curves(tmp_path / "one")
    weights = load_file(tmp_path / "one" / "model.safetensors")
    assert len(curve) == 20
    assert curve[-1] < curve[0] - 0.3
    for other in (two_processes / "two", tmp_path / "accumulated"):
        assert curves(other)[0] == pytest.approx(curve, abs=1e-4)
        found = load_file(other / "model.safetensors")
        for name, weight in weights.items():
            torch.testing.assert_close(found[name], weight, atol=1e-4, rtol=0, msg=name)


@pytest.mark.slow
def test_sharded_weights_are_held_in_parts(two_processes):
    first, second = loaded(two_processes, "shards")
    for mine, others in zip(first, second, strict=True):
        assert mine[:2] == others[:2] == ["DistributedType.FSDP", ["DTensor"]]
        assert mine[2] + others[2] == mine[3] == others[3]
        assert mine[2] < 0.6 * mine[3]


@pytest.mark.slow
def test_sharded_weights_are_resumed_as_they_were(two_processes):
    run, resumed = two_processes / "sharded", two_processes / "sharded-resumed"
    assert curves(resumed) == curves(run)
    weights = load_file(run / "model.safetensors")
    for name, weight in load_file(resumed / "model.safetensors").items():
        assert torch.equal(weights[name], weight), name


@pytest.mark.slow
def test_sharded_weights_train_as_whole_ones(two_processes):
    whole, sharded = two_processes / "two", two_processes / "sharded"
    assert curves(sharded)[0] == pytest.approx(curves(whole)[0], abs=1e-5)
    assert curves(sharded)[1] == pytest.approx(curves(whole)[1], abs=1e-5)
    for name in ("model.safetensors", "projection.safetensors"):
        weights, found = load_file(whole / name), load_file(sharded / name)
        assert weights.keys() == found.keys()
        for key, weight in weights.items():
            torch.testing.assert_close(found[key], weight, atol=1e-5, rtol=0, msg=key)


@pytest.mark.slow
def test_channels_last_trains_as_channels_first_on_two_processes(two_processes):
    first, last = two_processes / "channels-first", two_processes / "channels-last"
    assert curves(last)[0] == pytest.approx(curves(first)[0], abs=1e-4)
    assert curves(last)[1] == pytest.approx(curves(first)[1], abs=1e-4)


@pytest.mark.slow
def test_processes_take_the_precision_that_the_first_chose_and_keep_it(two_processes):
    begun_and_resumed = [["torch.bfloat16", True]] * 2
    assert loaded(two_processes, "precision") == [begun_and_resumed] * 2


@pytest.mark.slow
def test_three_processes_train_by_the_command_and_count_every_image_once(three_processes, vkd):
    run = three_processes / "run"
    records = read_metrics(run)
    assert [record["epoch"] for record in records] == [1, 2]
    # 180 validation images: an accuracy is a multiple of 1 / 180 only if each counts once.
    correct = records[-1]["validation"]["accuracy"] * 180 / 100
    assert correct == pytest.approx(round(correct), abs=1e-4)
    together = (three_processes / "digits.txt").read_text()
    alone = vkd("eval", "--checkpoint", run, "--device", "cpu").stdout
    assert together.splitlines()[:-1] == alone.splitlines()[:-1]
    assert alone.splitlines()[-1].startswith("images_per_second")


@pytest.mark.slow
def test_three_processes_measure_a_generator_as_one(three_processes, gan_run, vkd):
    alone = vkd("eval", "--checkpoint", gan_run, "--device", "cpu").stdout
    together = (three_processes / "gan.txt").read_text()
    numbers = [
        dict(re.findall(r"^(\w+): (\S+)$", text, re.MULTILINE)) for text in (alone, together)
    ]
    assert numbers[0].keys() == numbers[1].keys()
    for name, value in numbers[0].items():
        if name != "images_per_second":
            assert float(numbers[1][name]) == pytest.approx(float(value), rel=1e-3, abs=1e-6), name


@pytest.mark.slow
def test_two_processes_train_a_gan_together(two_processes):
    record = read_metrics(two_processes / "gan")[0]
    assert record["updates"] == 143 // 2 // 32
    assert np.isfinite(list(record["train"].values())).all()


@pytest.mark.slow
def test_accelerate_launches_the_command(digits_teacher, tmp_path):
    run = tmp_path / "run"
    done = run_python(
        "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "1",
        "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no",
        "-m", "vkd", "train", "digits", "--output", run, "--epochs", "1", "--warmup-epochs", "0",
        "--device", "cpu", "--teacher-checkpoint", digits_teacher, "--accumulation", "2",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (record,) = read_metrics(run)
    # 718 images in whole batches of 64, two batches an update.
    assert record["updates"] == math.ceil(718 // 64 / 2)
