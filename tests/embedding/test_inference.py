"""Using a trained student: measures, embeddings of files, and export."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch.nn import functional as F

import vkd
from support.photographs import write_folder
from vkd.api.train import train
from vkd.embedding.config import EmbeddingConfig
from vkd.embedding.embedder import Embedder
from vkd.embedding.quality import linear_cka, retrieval_recall
from vkd.errors import UserError
from vkd.models.checkpoints import read_checkpoint
from vkd.recipe import recipe
from vkd.training.task import Objects

SMALL = {
    "input_size": 32, "epochs": 1, "warmup_epochs": 0, "batch_size": 8, "workers": 0,
    "teacher_size": 0, "device": "cpu", "trackers": "", "teacher_precision": "float32",
    "validation_fraction": 0.2, "student": "resnet10t", "teacher": "resnet14t",
}  # fmt: skip


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Pictures in ImageNet's layout, one of which cannot be read."""
    folder = write_folder(tmp_path_factory.mktemp("pictures"), odd=1)
    (folder / "val" / "n00" / "bad.JPEG").write_bytes(b"x")
    return folder


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """Weights of a teacher that was never trained, without a classifier."""
    torch.manual_seed(1)
    network = vkd.create_model("resnet14t", num_classes=0)
    file = tmp_path_factory.mktemp("teacher") / "teacher.pth"
    torch.save(network.state_dict(), file)
    return file


@pytest.fixture(scope="module")
def run(tmp_path_factory, pictures, teacher):
    """A run on photographs, measured with the same by their classes."""
    folder = tmp_path_factory.mktemp("run") / "run"
    paths = {"data_path": str(pictures), "probe_path": str(pictures)}
    train("embedding", folder, show=False, teacher_checkpoint=str(teacher), **SMALL, **paths)
    return folder


def student_of(run):
    return Embedder.of(
        EmbeddingConfig(student="resnet10t", teacher="resnet14t"), read_checkpoint(run), Objects()
    )


def readable(pictures, split):
    files = sorted(file for file in (pictures / split).rglob("*.JPEG") if file.stem != "bad")
    return [str(file) for file in files]


def test_the_embedder_is_the_network_on_prepared_pictures(run, pictures, caplog):
    embedder = student_of(run)
    parts = list(embedder.embed([str(pictures / "val" / "n00")], 4))
    names = [name for part, _ in parts for name in part]
    assert sorted(names) == [f for f in readable(pictures, "val") if "n00" in f]
    assert "bad.JPEG is not an image" in caplog.text
    assert embedder.width == 512
    assert embedder.projection.shape == (2048, 512)
    assert torch.equal(embedder.projection, load_file(run / "projection.safetensors")["weight"])
    features = torch.cat([part for _, part in parts])
    # By hand, without the library's transforms.
    image = Image.open(names[2]).convert("RGB")
    side = int(32 / embedder.inputs.crop)
    resized = image.resize((side, side), Image.Resampling.BICUBIC)
    left = round((side - 32) / 2)
    pixels = np.asarray(resized.crop((left, left, left + 32, left + 32)), dtype=np.float32) / 255
    mean, std = (np.array(v, dtype=np.float32) for v in (embedder.inputs.mean, embedder.inputs.std))
    prepared = torch.from_numpy(((pixels - mean) / std).transpose(2, 0, 1))[None]
    network = vkd.create_model("resnet10t", run, num_classes=0).eval()
    torch.testing.assert_close(features[2:3], network(prepared).detach(), atol=2e-2, rtol=2e-2)


def test_evaluation_is_that_of_the_embeddings_of_the_files(run, pictures, teacher):
    metrics = vkd.evaluate(str(run))
    assert metrics["skipped"] == 1
    embedder = student_of(run)
    index, queries = (
        torch.cat([part for _, part in embedder.embed(readable(pictures, split), 16)])
        for split in ("train", "val")
    )
    labels = [
        torch.tensor([int(file.split("/n0")[1][0]) for file in readable(pictures, split)])
        for split in ("train", "val")
    ]
    recalls = retrieval_recall(index, labels[0], queries, labels[1])
    for k in (1, 5, 10):
        assert metrics[f"recall_{k}"] == pytest.approx(recalls[k])
    network = vkd.create_model("resnet14t", teacher, num_classes=0)
    theirs = torch.cat(
        [part for _, part in Embedder(network, embedder.inputs, "t").embed(
            readable(pictures, "val"), 16)]
    )  # fmt: skip
    assert metrics["cka"] == pytest.approx(linear_cka(queries, theirs), abs=1e-4)
    known = torch.cat(
        [part for _, part in Embedder(network, embedder.inputs, "t").embed(
            readable(pictures, "train"), 16)]
    )  # fmt: skip
    target = F.layer_norm(known, known.shape[1:])
    mixed = retrieval_recall(target, labels[0], queries @ embedder.projection.T, labels[1])
    folded = retrieval_recall(target @ embedder.projection, labels[0], queries, labels[1])
    for k in (1, 5, 10):
        assert metrics[f"mixed_recall_{k}"] == pytest.approx(mixed[k])
        assert metrics[f"folded_recall_{k}"] == pytest.approx(folded[k])


def test_without_its_teacher_a_student_is_measured_by_labels_alone(run, tmp_path, caplog):
    shutil.copytree(run, tmp_path / "run")
    weights = read_checkpoint(tmp_path / "run").recipe["teacher_checkpoint"]
    found = vkd.evaluate(str(tmp_path / "run"))
    shutil.move(weights, tmp_path / "t.pth")
    try:
        alone = vkd.evaluate(str(tmp_path / "run"))
        assert "not compared, as its weights" in caplog.text
        again = vkd.evaluate(str(tmp_path / "run"), teacher_checkpoint=str(tmp_path / "t.pth"))
    finally:
        shutil.move(tmp_path / "t.pth", weights)
    assert "cka" not in alone
    assert alone["knn"] == found["knn"] == again["knn"]
    assert again["cka"] == found["cka"]


@pytest.mark.parametrize("suffix", [".npy", ".parquet"])
def test_embeddings_are_written_in_batches_and_never_over_others(
    vkd, run, pictures, tmp_path, suffix
):
    target = tmp_path / f"embeddings{suffix}"
    folder = str(pictures / "val")
    words = ("predict", "--checkpoint", run, folder, "--output", target, "--batch-size", 3)
    done = vkd(*words)
    assert done.returncode == 1
    assert "1 of 26 images could not be read" in done.stderr
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [record["row"] for record in records] == list(range(25))
    names = [record["image"] for record in records]
    expected = torch.cat([part for _, part in student_of(run).embed(names, 25)]).numpy()
    if suffix == ".npy":
        assert json.loads((tmp_path / "embeddings.names.json").read_text()) == names
        rows = np.load(target)
    else:
        table = pytest.importorskip("pyarrow.parquet").read_table(target)
        assert table["image"].to_pylist() == names
        rows = np.array(table["embedding"].to_pylist(), dtype=np.float32)
    np.testing.assert_allclose(rows, expected, atol=1e-5)
    before = target.read_bytes()
    again = vkd(*words)
    assert again.returncode == 2
    assert "exists already; name a new file" in again.stderr
    assert target.read_bytes() == before


def test_records_without_a_file_hold_the_embeddings(run, pictures):
    file = readable(pictures, "val")[0]
    (record,) = vkd.predict(str(run), [file])
    expected = next(student_of(run).embed([file], 1))[1][0]
    assert record["embedding"] == pytest.approx(expected.tolist())


def test_nothing_readable_leaves_no_file(run, pictures, tmp_path):
    with pytest.raises(UserError, match="is not an image"):
        vkd.predict(str(run), [pictures / "val/n00/bad.JPEG"], output=str(tmp_path / "e.npy"))
    assert list(tmp_path.iterdir()) == []


def test_an_exported_student_gives_the_same_embeddings(run, tmp_path):
    vkd.export(str(run), tmp_path / "student.pt2")
    program = torch.export.load(tmp_path / "student.pt2", extra_files=(extra := {"inputs": ""}))
    images = torch.randn(3, 3, 32, 32)
    torch.testing.assert_close(
        program.module()(images), student_of(run)(images), atol=1e-4, rtol=1e-4
    )
    assert json.loads(extra["inputs"])["shape"] == [3, 32, 32]


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda folder: None, "probe_path: .* is not there"),
        (lambda folder: (folder / "train").mkdir(parents=True), "probe_path: .*no pictures"),
        (
            lambda folder: write_flat(folder / "train"),
            "probe_path: .* holds 3 pictures and no class folders",
        ),
        (lambda folder: write_flat(folder / "train" / "only"), "probe_path: .* has one class"),
    ],
)  # fmt: skip
def test_a_probe_without_labels_is_a_sentence(run, tmp_path, write, message):
    write(tmp_path / "probe")
    with pytest.raises(UserError, match=message):
        vkd.evaluate(str(run), probe_path=str(tmp_path / "probe"))


def write_flat(folder):
    folder.mkdir(parents=True)
    for number in range(3):
        Image.new("RGB", (9, 9), (number, 0, 0)).save(folder / f"{number}.png")


def test_pictures_of_one_size_and_few_of_them(tmp_path, teacher):
    write_flat(tmp_path / "few")
    with pytest.raises(UserError, match=r"validation_fraction leaves 1 pictures to validate with"):
        train("embedding", tmp_path / "run", show=False, data_path=str(tmp_path / "few"),
              teacher_checkpoint=str(teacher), **SMALL)  # fmt: skip
    assert not (tmp_path / "run").exists()


def test_data_are_described_without_labels(pictures):
    found = vkd.check(str(pictures), recipe("embedding"))
    assert found.dataset == "folder"
    assert found.splits["train"].counts == {"without labels": 24}


def test_a_file_of_python_that_weights_name_is_not_run_as_teacher(run, tmp_path, caplog):
    from safetensors.torch import save_file

    read = read_checkpoint(run)
    trap = tmp_path / "trap.py"
    trap.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    fields = read.recipe | {"teacher": f"{trap}:build", "teacher_checkpoint": ""}
    (tmp_path / "run").mkdir()
    metadata = read.metadata | {"recipe": json.dumps(fields)}
    save_file(read.stored, tmp_path / "run" / "model.safetensors", metadata)
    metrics = vkd.evaluate(str(tmp_path / "run"))
    assert "cka" not in metrics
    assert "a file of Python is not run here" in caplog.text
    assert not (tmp_path / "ran").exists()
