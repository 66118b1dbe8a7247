"""Stores hold what the network says of each view, and training sees no difference."""

import json
import shutil
from dataclasses import replace
from functools import partial

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from support.photographs import distilled, write_teacher
from vkd.api.cache import cache
from vkd.api.train import train
from vkd.classification import teachers
from vkd.classification.data import read_splits, student_format
from vkd.classification.module import ClassificationModule
from vkd.data.views import Views
from vkd.errors import RunError, UserError
from vkd.recipe import config_of, read_recipe, recipe
from vkd.store import fitting
from vkd.store.description import StoreDescription, describe
from vkd.store.rows import file_of, write_rows
from vkd.store.teacher import DiskTeacher
from vkd.teacher import TeacherOutput
from vkd.training.records import read_metrics


@pytest.fixture
def config(digits_teacher):
    return config_of(
        read_recipe("digits")
        | {
            "teacher_checkpoint": str(digits_teacher), "device": "cpu", "trackers": "",
            "epochs": 3, "warmup_epochs": 0, "train_fraction": 0.3, "logit_weight": 1.0,
            "crop_padding": 1, "flip": True,
        }
    )  # fmt: skip


@pytest.fixture
def small_files(monkeypatch):
    """Stores of 100 rows a file."""
    monkeypatch.setattr(fitting, "StoreDescription", partial(StoreDescription, rows_per_file=100))


def outputs_of(config):
    """The views of a config's images, and its network's outputs for them."""
    splits = read_splits(config, student_format(config))
    views = Views(splits.train, 2, config.seed)
    images = torch.stack([views[row][0] for row in range(len(views))])
    network = teachers.network_teacher(config, splits.format)
    return images, network(images)


def test_a_store_holds_what_the_network_says_of_each_view(config, tmp_path, small_files):
    sizes = cache(config, tmp_path / "store", views=2, dtype="float32", show=False)
    images, expected = outputs_of(config)
    assert sizes["rows"] == len(images) == 2 * 215
    assert len(list((tmp_path / "store").glob("rows-*.safetensors"))) == 5
    assert not torch.equal(images[:215], images[215:])
    store, rows = DiskTeacher(tmp_path / "store"), torch.randperm(430)
    found = store(images, rows)
    torch.testing.assert_close(found.only, expected.only[rows])
    torch.testing.assert_close(found.logits, expected.logits[rows])
    half = cache(config, tmp_path / "half", views=2, show=False)
    assert (sizes["row_bytes"], half["row_bytes"]) == (4 * 138 + 8, 2 * 138 + 8)
    for name, made in (("store", sizes), ("half", half)):
        files = (tmp_path / name).glob("rows-*")
        assert 1e6 * made["megabytes"] == pytest.approx(
            sum(f.stat().st_size for f in files), rel=0.02
        )
    found = DiskTeacher(tmp_path / "half")(images, rows)
    torch.testing.assert_close(found.only, expected.only[rows], rtol=1e-3, atol=1e-3)


def test_training_with_a_store_equals_training_with_its_network(config, tmp_path, monkeypatch):
    store = tmp_path / "store"
    cache(config, store, views=2, dtype="float32", show=False)
    stored = replace(config, teacher_store=str(store), teacher_checkpoint="")
    train(stored, tmp_path / "stored", show=False)
    splits = read_splits(config, student_format(config))
    seen, network = [], teachers.network_teacher(config, splits.format)

    def asked(module, images, indices, stored):
        """The same views, but the network is asked about each."""
        seen.extend((indices // 215).tolist())
        return network(images, indices)

    monkeypatch.setattr(ClassificationModule, "_taught", asked)
    train(stored, tmp_path / "asked", show=False)
    curves = [
        [record["train"]["loss"] for record in read_metrics(tmp_path / name)]
        for name in ("stored", "asked")
    ]
    assert curves[0] == pytest.approx(curves[1], rel=1e-4)
    assert curves[0][0] > curves[0][-1]
    assert seen == [0] * 192 + [1] * 192 + [0] * 192  # whole batches of 64, views in turns


def test_a_run_with_a_store_resumes_bit_for_bit(config, tmp_path, train_in_two_parts):
    cache(config, tmp_path / "store", views=2, show=False)
    config = replace(config, teacher_store=str(tmp_path / "store"))
    train(config, tmp_path / "whole", show=False)
    train_in_two_parts(replace(config, checkpoint_every=1), tmp_path / "parts")
    whole, parts = (load_file(tmp_path / n / "model.safetensors") for n in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_an_interrupted_store_goes_on(config, tmp_path, small_files):
    folder = tmp_path / "store"
    cache(config, folder, views=2, show=False)
    before = [load_file(file_of(folder, number)) for number in range(5)]
    file_of(folder, 3).unlink()
    kept = {number: file_of(folder, number).stat().st_mtime_ns for number in (0, 1, 2, 4)}
    with pytest.raises(ValueError, match="incomplete, 1 of 5 files"):
        DiskTeacher(folder)
    with pytest.raises(UserError, match=r"teacher_store: .* is incomplete"):
        train(replace(config, teacher_store=str(folder)), tmp_path / "run", show=False)
    cache(config, folder, views=2, show=False)
    again = load_file(file_of(folder, 3))
    assert all(torch.equal(again[name], before[3][name]) for name in again)
    assert kept == {number: file_of(folder, number).stat().st_mtime_ns for number in kept}


@pytest.mark.slow
def test_two_processes_fill_the_same_store(two_processes, digits_teacher, tmp_path, small_files):
    config = recipe("digits", teacher_checkpoint=str(digits_teacher), device="cpu", crop_padding=1)
    cache(config, tmp_path / "one", views=1, show=False)
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == sorted(path.name for path in (two_processes / "store").iterdir())
    names.remove(".lock")
    assert len(names) == 8 + 1
    for name in names[:-1]:
        one, two = (
            load_file(folder / name) for folder in (tmp_path / "one", two_processes / "store")
        )
        torch.testing.assert_close(one, two)


def test_a_store_that_does_not_fit_is_refused(config, tmp_path):
    folder = tmp_path / "store"
    with pytest.raises(UserError, match="views must be the number"):
        cache(config, folder, show=False)
    cache(config, folder, views=2, show=False)
    stored = replace(config, teacher_store=str(folder))
    for change, message in (
        ({"flip": False}, "store has flip True, the recipe False"),
        ({"train_fraction": 0.5}, "store has train_fraction 0.3, the recipe 0.5"),
        ({"teacher_store": str(tmp_path)}, "is no store of a teacher's outputs"),
    ):
        with pytest.raises(UserError, match=message):
            train(replace(stored, **change), tmp_path / f"run-{len(message)}", show=False)
    for change in ({"mixup": 0.8}, {"cutmix": 1.0}, {"repeated_augmentation": 3}):
        with pytest.raises(UserError, match="with a store"):
            replace(stored, **change)
    for mode in ("batch", "elem"):
        with pytest.raises(UserError, match=f"mixup_mode must be pair with a store.*found {mode}"):
            replace(stored, mixup=0.8, mixup_mode=mode)
    with pytest.raises(UserError, match=r"store has mixup 0\.0, the recipe 0\.8"):
        train(replace(stored, mixup=0.8, mixup_mode="pair"), tmp_path / "run", show=False)
    with pytest.raises(UserError, match="holds another store"):
        cache(replace(config, seed=1), folder, views=2, show=False)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes").write_text("kept")
    with pytest.raises(UserError, match=r"output: .* is no store"):
        cache(config, tmp_path / "mine", views=2, show=False)
    description = json.loads((folder / "store.json").read_text())
    (folder / "store.json").write_text(json.dumps(description | {"images": 43, "views": 10}))
    with pytest.raises(UserError, match="was made of 43 images in 10 classes, the data has 215"):
        train(stored, tmp_path / "run", show=False)


def test_outputs_too_large_for_the_dtype_are_an_error(config, tmp_path, monkeypatch):
    large = TeacherOutput({"": torch.full((2, 3), 1e6)}, torch.zeros(2, 3))
    with pytest.raises(ValueError, match="features are not finite in float16"):
        write_rows(tmp_path / "rows.safetensors", large, "float16")
    write_rows(tmp_path / "rows.safetensors", large, "float32")
    monkeypatch.setattr(
        "shutil.disk_usage", lambda _: type("Usage", (), {"free": 10, "total": 10**9})
    )
    with pytest.raises(RunError, match=r"The outputs take 0\.0 GB"):
        cache(config, tmp_path / "store", views=1, show=False)


def test_the_command_fills_a_store_that_trains_without_a_teacher(vkd, digits_teacher, tmp_path):
    store = tmp_path / "store"
    made = vkd("cache", "digits", "--teacher-checkpoint", digits_teacher, "--output", store)
    assert made.returncode == 0, made.stderr
    assert "rows: 718" in made.stdout
    assert describe(store).recipe["teacher"] == "cnn_digits"
    done = vkd(
        "train", "digits", "--teacher-store", store, "--epochs", 1, "--warmup-epochs", 0,
        "--output", tmp_path / "run", "--device", "cpu",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "run" / "teacher").exists()
    refused = vkd("cache", "digits-detection", "--output", tmp_path / "other")
    assert refused.returncode == 2
    assert "Teachers of detection cannot be stored: the tokens that are compared" in refused.stderr


@pytest.fixture
def folder_store(tmp_path):
    """A recipe of a folder of photographs, its teacher, and a store of these."""
    config = recipe("deit-tiny-imagenet", **distilled(tmp_path))
    cache(config, tmp_path / "store", views=1, show=False)
    return replace(config, teacher_store=str(tmp_path / "store"))


def exchanged(folder):
    first, second = sorted((folder / "data" / "train" / "n00").iterdir())[:2]
    kept = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(kept)


def another(folder):
    files = sorted((folder / "data" / "train" / "n01").iterdir())
    files[0].rename(files[0].with_name("zz.JPEG"))


def repainted(folder):
    for file in (folder / "data" / "train").rglob("*.JPEG"):
        size = file.stat().st_size
        with Image.open(file) as image:
            turned = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        turned.save(file)
        content = file.read_bytes()
        file.write_bytes((content + bytes(size))[: max(size, len(content))])


@pytest.mark.parametrize("change", [exchanged, another, repainted])
def test_a_store_of_other_pictures_is_refused(folder_store, tmp_path, change):
    change(tmp_path)
    with pytest.raises(UserError, match="made of other pictures"):
        train(folder_store, tmp_path / "run", show=False)
    with pytest.raises(UserError, match=r"output: .* made of other pictures"):
        cache(replace(folder_store, teacher_store=""), tmp_path / "store", views=1, show=False)


def test_a_store_of_another_crop_is_refused(folder_store, tmp_path):
    with pytest.raises(UserError, match="store has crop 'random', the recipe 'simple'"):
        train(replace(folder_store, crop="simple"), tmp_path / "run", show=False)


def test_a_store_does_not_ask_where_pictures_and_weights_lie(folder_store, tmp_path, monkeypatch):
    shutil.copytree(tmp_path / "data", tmp_path / "moved", copy_function=shutil.copyfile)
    (tmp_path / "teacher.pth").rename(tmp_path / "T.pth")
    monkeypatch.chdir(tmp_path)
    moved = replace(folder_store, data_path="./moved", teacher_checkpoint="./T.pth")
    assert train(moved, tmp_path / "run", show=False)["loss"] > 0


def test_a_store_of_a_teacher_that_was_retrained_is_refused(folder_store, tmp_path):
    write_teacher(tmp_path)
    with pytest.raises(UserError, match="other weights than"):
        train(folder_store, tmp_path / "run", show=False)
    with pytest.raises(UserError, match="other weights of the teacher"):
        cache(replace(folder_store, teacher_store=""), tmp_path / "store", views=1, show=False)


def test_a_store_of_one_decoder_is_refused_with_another(folder_store, tmp_path):
    exact = replace(folder_store, decoder="exact")
    with pytest.raises(UserError, match="store has decoder 'fast', the recipe 'exact'"):
        train(exact, tmp_path / "run", show=False)
    file = tmp_path / "store" / "store.json"
    former = json.loads(file.read_text())
    del former["recipe"]["decoder"]  # as stores of earlier versions are
    file.write_text(json.dumps(former))
    with pytest.raises(UserError, match="store has decoder 'exact', the recipe 'fast'"):
        train(folder_store, tmp_path / "run", show=False)
    assert train(exact, tmp_path / "run", show=False)["loss"] > 0
