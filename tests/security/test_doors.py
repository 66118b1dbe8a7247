"""Every door at which a file is opened, with every form of file that runs code where it is let."""

import json
import pickle
import shutil
from contextlib import suppress

import pytest

import vkd
from support.commands import run_here
from support.hostile import FORMS, Payload
from vkd.api.check import check
from vkd.api.convert import convert
from vkd.data.cifar100 import read_cifar100
from vkd.data.photographs import open_source
from vkd.data.sources import PhotographSource
from vkd.deployment.description import read_exported
from vkd.detection.formats.yolo_file import data_file
from vkd.embedding.files import read_embeddings
from vkd.errors import RunError, UserError
from vkd.models.checkpoints import read_checkpoint, read_exported_network
from vkd.models.training_checkpoint import read_training_checkpoint
from vkd.recipe import read_recipe
from vkd.reporting.projections import projections
from vkd.store.description import describe
from vkd.training.findings_files import read_findings
from vkd.training.records import read_metrics


def _in_folder(name, read):
    """A door that opens a file of a fixed name in a folder."""

    def door(file):
        folder = file.parent / "folder"
        place = folder / name
        place.parent.mkdir(parents=True)
        shutil.copy(file, place)
        read(folder)

    return door


def _data(dataset):
    return lambda path: open_source(PhotographSource(dataset, str(path)))


def _hugging_face(folder):
    pytest.importorskip("transformers")
    config = {"model_type": "vit", "hidden_size": 8, "num_attention_heads": 2,
              "intermediate_size": 8, "num_hidden_layers": 1}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    vkd.create_model(f"hf/{folder}", "hub")


# By name: the suffix of the file, and what opens it.
DOORS = {
    "weights, .pth": (".pth", read_checkpoint),
    "weights, .safetensors": (".safetensors", read_checkpoint),
    "weights of a run": ("", _in_folder("model.safetensors", read_checkpoint)),
    "training of the release": (".pth", read_training_checkpoint),
    "convert": (".pth", lambda file: convert(file, file.with_name("new.safetensors"))),
    "eval": (".pth", lambda file: vkd.evaluate(str(file), "digits")),
    "predict": (".pth", lambda file: vkd.predict(str(file), [], "digits")),
    "exported, .pt2": (".pt2", read_exported),
    "exported, .onnx": (".onnx", read_exported_network),
    "publish": (".pth", lambda file: vkd.save_pretrained(str(file), file.with_name("new"))),
    "from_pretrained": ("", _in_folder("model.safetensors", vkd.from_pretrained)),
    "Hugging Face, .bin": ("", _in_folder("pytorch_model.bin", _hugging_face)),
    "Hugging Face, .safetensors": ("", _in_folder("model.safetensors", _hugging_face)),
    "embeddings, .npy": (".npy", read_embeddings),
    "embeddings, .parquet": (".parquet", read_embeddings),
    "store": ("", _in_folder("store.json", describe)),
    "projection": ("", _in_folder("projection.safetensors", lambda run: projections({"a": run}))),
    "findings": ("", _in_folder("findings/findings.json", read_findings)),
    "metrics": ("", _in_folder("metrics.jsonl", read_metrics)),
    "recipe": (".yaml", lambda file: read_recipe(str(file))),
    "data.yaml": (".yaml", data_file),
    "table, .csv": (".csv", _data("table")),
    "table, .parquet": (".parquet", _data("table")),
    "shard": ("", _in_folder("train-0.tar", _data("wds"))),
    "picture": ("", _in_folder("train/class/a.png", _data("folder"))),
    "CIFAR-100": ("", _in_folder("train.bin", lambda f: read_cifar100(
        PhotographSource("cifar100", str(f))))),
    "COCO": ("", _in_folder("annotations/instances_train.json", lambda f: check(
        f, dataset="coco", task="detection"))),
}  # fmt: skip


@pytest.fixture
def canary(tmp_path):
    return tmp_path / "canary"


@pytest.mark.parametrize("form", FORMS)
def test_each_form_runs_code_where_it_is_let(form, canary, tmp_path):
    write, trusting = FORMS[form]
    file = tmp_path / f"hostile.{'npz' if form == 'npz' else 'bin'}"
    write(file, Payload(canary))
    # What follows the payload need not be whole.
    with suppress(AttributeError, TypeError, RuntimeError, ValueError, pickle.UnpicklingError):
        trusting(file)
    assert canary.exists()


@pytest.mark.parametrize("door", DOORS)
def test_no_door_runs_what_a_file_holds(door, canary, tmp_path):
    suffix, opens = DOORS[door]
    for place, (form, (write, _)) in enumerate(FORMS.items()):
        folder = tmp_path / str(place)
        folder.mkdir()
        file = folder / f"hostile{suffix}"
        write(file, Payload(canary))
        # What has harmless parts alone may be taken.
        with suppress(UserError, RunError, ValueError):
            opens(file)
        assert not canary.exists(), form


def test_an_extension_type_of_arrow_runs_nothing(canary, tmp_path):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    metadata = {
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": pickle.dumps(Payload(canary)),
    }
    schema = arrow.schema([arrow.field("image", arrow.string(), metadata=metadata),
                           arrow.field("label", arrow.string())])  # fmt: skip
    table = arrow.table({"image": ["a.png"], "label": ["a"]}, schema=schema)
    parquet.write_table(table, tmp_path / "train.parquet")
    for opens in (_data("table"), _data("hfds")):
        with pytest.raises((UserError, KeyError)):
            opens(tmp_path / "train.parquet")
    with pytest.raises(UserError):
        read_embeddings(tmp_path / "train.parquet")
    assert not canary.exists()


FLAGS = ("--method", "none", "--feature-weight", "0", "--warmup-epochs", "0", "--device", "cpu",
         "--batch-size", "512", "--trackers", "", "--epochs", "3", "--checkpoint-every", "1",
         "--ema-decay", "0.9")  # fmt: skip


@pytest.fixture
def run(interrupted, tmp_path):
    """A run whose first epoch of three is saved."""
    changes = {"method": "none", "feature_weight": 0.0, "warmup_epochs": 0, "batch_size": 512}
    interrupted("digits", tmp_path / "run", trackers="", device="cpu", epochs=3, ema_decay=0.9,
                checkpoint_every=1, **changes)  # fmt: skip
    return tmp_path / "run"


def test_a_run_as_it_was_is_resumed(run):
    done = run_here("train", "digits", "--output", run, "--resume", *FLAGS)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("form", ["saved", "legacy, raw", "legacy, tar", "pickle"])
@pytest.mark.parametrize("name", [
    "custom_checkpoint_0.pkl", "optimizer.bin", "scheduler.bin", "random_states_0.pkl",
    "optimizer-0.safetensors", "process-0.safetensors",
])  # fmt: skip
def test_resuming_a_strangers_run_runs_nothing(name, form, run, canary):
    for state in (run / "checkpoints").iterdir():
        FORMS[form][0](state / name, Payload(canary))
    run_here("train", "digits", "--output", run, "--resume", *FLAGS)
    assert not canary.exists()
