"""Python of others runs where a command or a call names it, and nowhere else."""

import json

import pytest
import torch
import yaml
from safetensors.torch import save_file

import vkd as package
from support.commands import run_here
from vkd.errors import UserError


@pytest.fixture
def code(tmp_path):
    """A file of Python that creates a canary when it runs; returns its name as a network."""
    file = tmp_path / "net.py"
    file.write_text(
        f"open({str(tmp_path / 'canary')!r}, 'w')\nimport timm\n"
        "def build(num_classes=10, in_chans=1):\n"
        "    return timm.create_model('cnn_digits', num_classes=num_classes, in_chans=in_chans)\n"
    )
    return f"{file}:build"


def _recipe(folder, name, **fields):
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump({"task": "classification", "dataset": "digits"} | fields))
    return file


def _weights(folder, **metadata):
    file = folder / "weights.safetensors"
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in metadata.items()}
    save_file({"a": torch.zeros(1)}, file, texts)
    return file


def _by_recipe(code, folder):
    return ["train", _recipe(folder, "own", student=code), "--output", folder / "run"]


def _by_teacher(code, folder):
    file = _recipe(folder, "own", student="cnn_digits", feature_weight=1.0, teacher=code)
    return ["train", file, "--output", folder / "run"]


def _by_recipe_of_the_teacher(code, folder):
    _recipe(folder, "teacher", student=code, feature_weight=0.0)
    file = _recipe(folder, "own", student="cnn_digits", feature_weight=1.0, teacher=code,
                   teacher_recipe=str(folder / "teacher.yaml"))  # fmt: skip
    return ["train", file, "--output", folder / "run"]


def _by_other_name_of_the_teacher(code, folder):
    _recipe(folder, "teacher", student=code, feature_weight=0.0)
    file = _recipe(folder, "own", student="cnn_digits", feature_weight=1.0, teacher="cnn_digits",
                   teacher_recipe=str(folder / "teacher.yaml"))  # fmt: skip
    return ["train", file, "--output", folder / "run"]


def _by_recipe_in_a_run(code, folder):
    (folder / "run").mkdir()
    _recipe(folder / "run", "recipe", student=code)
    return ["train", "--resume", "--output", folder / "run"]


def _by_metadata(code, folder):
    recipe = {"task": "classification", "dataset": "digits", "student": code}
    return ["eval", "--checkpoint", _weights(folder, recipe=recipe)]


def _by_architecture(code, folder):
    return ["layers", _weights(folder, architecture=code)]


def _by_run_as_teacher(code, folder):
    weights = _weights(folder, architecture=code)
    return ["train", "digits", "--teacher", weights, "--output", folder / "run"]


def _by_published_folder(code, folder):
    place = folder / "published"
    place.mkdir()
    _weights(place).rename(place / "model.safetensors")
    (place / "config.json").write_text(json.dumps({"architecture": code, "vkd": {}}))
    return ["publish", "--checkpoint", place, "--output", folder / "again"]


def _by_store(code, folder):
    store = folder / "store"
    store.mkdir()
    recipe = {"teacher": code, "dataset": "digits"}
    (store / "store.json").write_text(json.dumps({
        "images": 4, "views": 1, "seed": 0, "dtype": "float16", "classes": ["a"], "recipe": recipe,
    }))  # fmt: skip
    return ["train", "digits", "--teacher-store", store, "--output", folder / "run"]


DOORS = [
    _by_recipe, _by_teacher, _by_recipe_of_the_teacher, _by_other_name_of_the_teacher,
    _by_recipe_in_a_run, _by_metadata, _by_architecture, _by_run_as_teacher, _by_published_folder,
    _by_store,
]  # fmt: skip


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__.strip("_"))
def test_a_file_of_python_that_only_a_file_names_does_not_run(door, code, tmp_path):
    done = run_here(*door(code, tmp_path))
    assert done.returncode == 2, done.stdout + done.stderr
    assert not (tmp_path / "canary").exists()


def test_a_file_of_python_that_a_command_names_runs(code, tmp_path):
    done = run_here("layers", code, "--input-size", 8, "--channels", 1)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "canary").exists()


def test_a_folder_of_transformers_brings_no_code(tmp_path):
    pytest.importorskip("transformers")
    from support.networks import save_network

    save_network("vit", tmp_path / "net")
    canary, config = tmp_path / "canary", tmp_path / "net" / "config.json"
    for name in ("modeling_own.py", "configuration_own.py", "processing_own.py"):
        (tmp_path / "net" / name).write_text(f"open({str(canary)!r}, 'w')\nclass Own: pass\n")
    values = json.loads(config.read_text())
    values["auto_map"] = {"AutoConfig": "configuration_own.Own", "AutoModel": "modeling_own.Own"}
    config.write_text(json.dumps(values))
    package.create_model(f"hf/{tmp_path / 'net'}", "hub")
    config.write_text(json.dumps(values | {"model_type": "own"}))
    with pytest.raises(UserError, match="knows no networks"):
        package.create_model(f"hf/{tmp_path / 'net'}", "hub")
    assert not canary.exists()


def test_a_folder_of_data_brings_no_code(tmp_path):
    pytest.importorskip("datasets")
    from support.pictures import opened

    place = tmp_path / "data"
    place.mkdir()
    (place / "data.py").write_text(f"open({str(tmp_path / 'canary')!r}, 'w')\n")
    with pytest.raises(UserError):
        opened(place, "hfds")
    assert not (tmp_path / "canary").exists()
