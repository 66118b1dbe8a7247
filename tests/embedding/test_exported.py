"""Exported students embed pictures as their runs do, in float and in 8 bits."""

import numpy as np
import pytest
from PIL import Image

import vkd
from support.commands import run_here


@pytest.fixture(scope="module")
def run(digits_teacher, tmp_path_factory):
    """The run folder of a student after a few epochs."""
    folder = tmp_path_factory.mktemp("embedding") / "run"
    vkd.train(
        "digits-embedding", folder, epochs=4, warmup_epochs=1, evaluate_every=4, lr=4e-3,
        device="cpu", trackers="", show=False, teacher_checkpoint=str(digits_teacher),
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def files(run, tmp_path_factory):
    """Its files in float and in 8 bits, and what the command printed of the latter."""
    folder = tmp_path_factory.mktemp("exported")
    for name, flags in (("float", ()), ("int8", ("--int8",))):
        done = run_here("export", "--checkpoint", run, folder / f"{name}.onnx", *flags)
        assert done.returncode == 0, done.stderr
    return folder / "float.onnx", folder / "int8.onnx", done.stdout


def test_the_quality_before_and_after_is_that_of_both_files(files, run):
    in_float, in_int8, printed = files
    told = vkd.read_exported(in_int8).quantization
    measured = [vkd.evaluate(str(file)) for file in (in_float, in_int8)]
    assert told["metric"] == {
        "name": "knn", "float": measured[0]["knn"], "int8": measured[1]["knn"]
    }  # fmt: skip
    assert measured[0]["knn"] == pytest.approx(vkd.evaluate(str(run), device="cpu")["knn"], abs=0.3)
    assert told["agreement"]["cosine"] > 0.99
    assert told["agreement"]["same_class"] is None
    assert "knn, %: " in printed


def test_predict_embeds_by_the_file(files, run, tmp_path):
    random = np.random.default_rng(0)
    for place in range(3):
        pixels = random.integers(0, 256, (9, 14), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{place}.png")
    rows = [
        np.array([record["embedding"] for record in vkd.predict(str(file), [tmp_path])])
        for file in (run, files[0])
    ]
    assert rows[0].shape[0] == 3
    np.testing.assert_allclose(rows[1], rows[0], atol=1e-4)
    found = vkd.read_exported(files[0])
    assert (found.task, found.gives) == ("embedding", ["embeddings"])


def test_a_torch_program_is_written_of_it(run, tmp_path):
    lines = vkd.export(str(run), tmp_path / "student.pt2")
    assert any("8 pictures of the test split" in line for line in lines)
    assert vkd.read_exported(tmp_path / "student.pt2").task == "embedding"
