"""Two processes learn and measure an embedding as one."""

import pytest
from safetensors.torch import load_file
from torch.testing import assert_close

from support.two_processes import even_embedding
from vkd.api.train import train
from vkd.training.records import read_metrics


@pytest.mark.slow
def test_two_processes_learn_and_measure_as_one(two_processes, digits_teacher, tmp_path):
    train(even_embedding(digits_teacher, 64), tmp_path / "one", show=False)
    one, two = (read_metrics(run) for run in (tmp_path / "one", two_processes / "embedding"))
    assert [r["train"]["loss"] for r in two] == pytest.approx(
        [r["train"]["loss"] for r in one], rel=1e-4
    )
    assert one[-1]["train"]["loss"] < one[0]["train"]["loss"]
    # Of 180 pictures each counts once: an accuracy is a whole number of them.
    found, expected = two[-1]["validation"], one[-1]["validation"]
    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert value == pytest.approx(expected[name], abs=0.6 if value > 1 else 1e-3), name
    for name in ("knn", "recall_1", "teacher_recall_5"):
        assert found[name] * 180 / 100 == pytest.approx(round(found[name] * 180 / 100), abs=1e-6)
    weights = load_file(tmp_path / "one" / "model.safetensors")
    for name, value in load_file(two_processes / "embedding" / "model.safetensors").items():
        assert_close(value, weights[name], atol=1e-4, rtol=0)
