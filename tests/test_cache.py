"""Stores of a teacher's outputs hold what the network says, and training sees no difference."""

import json
from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader

from vkd.recipe import config_of, read_recipe
from vkd.data.images import Images
from vkd.data.transforms import training_transform
from vkd.data.views import Views, ViewSampler
from vkd.errors import RunError, UserError
from vkd.store import DiskTeacher, StoreDescription, describe, file_of, open_store, write_rows
from vkd.api.cache import cache
from vkd.api.train import train
from vkd.classification import task as classification
from vkd.classification import teachers
from vkd.teacher import TeacherOutput
from vkd.training.checkpoint import read_metrics


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
    monkeypatch.setattr(teachers, "StoreDescription", partial(StoreDescription, rows_per_file=100))


def answers_of(config):
    """The views of a config's images, and what its network says of them."""
    splits = classification.read_splits(config)
    views = Views(splits.train, 2, config.seed)
    images = torch.stack([views[row][0] for row in range(len(views))])
    example = torch.zeros(2, *splits.shape)
    network, _ = teachers.network_teacher(config, torch.nn.Identity(), example)
    return images, network(images)


def test_a_store_holds_what_the_network_says_of_each_view(config, tmp_path, small_files):
    sizes = cache(config, tmp_path / "store", views=2, dtype="float32", show=False)
    images, expected = answers_of(config)
    assert sizes["rows"] == len(images) == 2 * 215
    assert len(list((tmp_path / "store").glob("rows-*.safetensors"))) == 5
    assert not torch.equal(images[:215], images[215:])
    store, rows = DiskTeacher(tmp_path / "store"), torch.randperm(430)
    found = store(images, rows)
    torch.testing.assert_close(found.only, expected.only[rows])
    torch.testing.assert_close(found.logits, expected.logits[rows])
    half = cache(config, tmp_path / "half", views=2, show=False)
    assert half["megabytes"] == sizes["megabytes"] / 2
    found = DiskTeacher(tmp_path / "half")(images, rows)
    torch.testing.assert_close(found.only, expected.only[rows], rtol=1e-3, atol=1e-3)


def test_training_with_a_store_equals_training_with_its_network(config, tmp_path, monkeypatch):
    store = tmp_path / "store"
    cache(config, store, views=2, dtype="float32", show=False)
    stored = replace(config, teacher_store=str(store), teacher_checkpoint="")
    train(stored, tmp_path / "stored", show=False)

    class Network(DiskTeacher):
        """Has the views of the store, but asks the network about each."""

        def __call__(self, images, indices=None):
            seen.extend((indices // 215).tolist())
            return network(images)

    seen, example = [], torch.zeros(2, 1, 8, 8)
    network, _ = teachers.network_teacher(config, torch.nn.Identity(), example)
    monkeypatch.setattr(teachers, "DiskTeacher", Network)
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
    with pytest.raises(UserError, match=r"--teacher-store: .* is incomplete"):
        train(replace(config, teacher_store=str(folder)), tmp_path / "run", show=False)
    cache(config, folder, views=2, show=False)
    again = load_file(file_of(folder, 3))
    assert all(torch.equal(again[name], before[3][name]) for name in again)
    assert kept == {number: file_of(folder, number).stat().st_mtime_ns for number in kept}


@pytest.mark.slow
def test_two_processes_fill_the_same_store(torchrun, digits_teacher, tmp_path):
    source = """
import sys
from functools import partial
from pathlib import Path
from vkd import tasks
from vkd.recipe import config_of, read_recipe
from vkd.store import StoreDescription
from vkd.classification import teachers
teachers.StoreDescription = partial(StoreDescription, rows_per_file=100)
fields = {"teacher_checkpoint": sys.argv[2], "device": "cpu", "crop_padding": 1}
tasks.cache(config_of(read_recipe("digits") | fields), Path(sys.argv[1]), 1, show=False)
tasks.end_processes()
"""
    for processes in (1, 2):
        torchrun(tmp_path / f"{processes}", digits_teacher, source=source, processes=processes)
    names = sorted(path.name for path in (tmp_path / "1").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "2").iterdir())
    assert len(names) == 8 + 1
    for name in names[:-1]:
        one, two = (load_file(tmp_path / folder / name) for folder in "12")
        torch.testing.assert_close(one, two)


def test_a_store_that_does_not_fit_is_refused(config, tmp_path):
    folder = tmp_path / "store"
    with pytest.raises(UserError, match="--views must tell"):
        cache(config, folder, show=False)
    cache(config, folder, views=2, show=False)
    stored = replace(config, teacher_store=str(folder))
    for change, message in (
        ({"flip": False}, "made with --flip True, the recipe has False"),
        ({"train_fraction": 0.5}, "made with --train-fraction 0.3, the recipe has 0.5"),
        ({"teacher_checkpoint": "other"}, "made with --teacher-checkpoint"),
        ({"teacher_store": str(tmp_path)}, "is no store of a teacher's outputs"),
    ):
        with pytest.raises(UserError, match=message):
            train(replace(stored, **change), tmp_path / f"run-{len(message)}", show=False)
    for change in ({"mixup": 0.8}, {"cutmix": 1.0}, {"repeated_augmentation": 3}):
        with pytest.raises(UserError, match="with a store"):
            replace(stored, **change)
    with pytest.raises(UserError, match="holds another store"):
        cache(replace(config, seed=1), folder, views=2, show=False)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes").write_text("kept")
    with pytest.raises(UserError, match=r"--output: .* is no store"):
        cache(config, tmp_path / "mine", views=2, show=False)
    description = json.loads((folder / "store.json").read_text())
    (folder / "store.json").write_text(json.dumps(description | {"images": 99}))
    with pytest.raises(UserError, match="was made of 99 images in 10 classes, the data has 215"):
        train(stored, tmp_path / "run", show=False)


def test_a_damaged_file_is_named(tmp_path):
    open_store(tmp_path / "store", StoreDescription(3, 1, 0, "float16", ["a"]))
    file = file_of(tmp_path / "store", 0)
    file.write_bytes(b"nonsense")
    with pytest.raises(ValueError, match=r"rows-000000\.safetensors cannot be read"):
        DiskTeacher(tmp_path / "store")(torch.zeros(1, 1), torch.tensor([0]))
    save_file({"features": torch.zeros(3, 2)}, file)
    with pytest.raises(ValueError, match=r"rows-000000\.safetensors cannot be read"):
        DiskTeacher(tmp_path / "store")(torch.zeros(1, 1), torch.tensor([0]))


def test_answers_too_large_for_the_dtype_are_an_error(config, tmp_path, monkeypatch):
    large = TeacherOutput({"a": torch.full((2, 3), 1e6)}, torch.zeros(2, 3))
    with pytest.raises(ValueError, match="features are not finite in float16"):
        write_rows(tmp_path / "rows.safetensors", large, "float16")
    write_rows(tmp_path / "rows.safetensors", large, "float32")
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10}))
    with pytest.raises(RunError, match=r"The answers take 0\.0 GB"):
        cache(config, tmp_path / "store", views=1, show=False)


@given(st.lists(st.integers(0, 29), min_size=1, max_size=12), st.integers(1, 9))
def test_any_rows_are_found_in_any_files(rows, rows_per_file):
    features, logits = torch.randn(30, 4), torch.randn(30, 3)
    parts = {
        start // rows_per_file: TeacherOutput(
            {"a": features[start : start + rows_per_file]}, logits[start : start + rows_per_file]
        )
        for start in range(0, 30, rows_per_file)
    }
    store = DiskTeacher.__new__(DiskTeacher)
    store.description = StoreDescription(10, 3, 0, "float32", [], {}, rows_per_file)
    store._parts = parts
    assert store.description.files == len(parts)
    found = store(torch.zeros(len(rows), 1), torch.tensor(rows))
    assert torch.equal(found.only, features[rows])
    assert torch.equal(found.logits, logits[rows])


class Photograph(Images):
    """One picture, many times, augmented as ImageNet's are."""

    def __init__(self, count):
        pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
        self.count, self.picture = count, Image.fromarray(pixels)
        self.augment = training_transform(32, "three-augment", color_jitter=0.3)

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return self.augment(self.picture), 0, index


def test_a_view_is_the_same_whenever_and_by_whomever_it_is_asked_for():
    views = Views(Photograph(4), 3, seed=5)
    first = [views[row][0] for row in range(12)]
    torch.manual_seed(99)
    state = torch.get_rng_state()
    for row in reversed(range(12)):
        assert torch.equal(views[row][0], first[row])
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(torch.equal(a, b) for a, b in pairwise(first))
    loaded = torch.cat([images for images, _, _ in DataLoader(views, 5, num_workers=1)])
    assert torch.equal(loaded, torch.stack(first))
    assert not torch.equal(Views(Photograph(4), 3, seed=6)[0][0], first[0])


def test_an_epoch_shows_each_image_once_in_its_view():
    views = Views(Photograph(7), 3, seed=0)
    sampler, orders = ViewSampler(views, seed=1), []
    for epoch in range(6):
        sampler.set_epoch(epoch)
        rows = list(sampler)
        assert len(sampler) == len(rows) == 7
        assert sorted(row % 7 for row in rows) == list(range(7))
        assert {row // 7 for row in rows} == {epoch % 3}
        assert rows == list(sampler)
        orders.append([row % 7 for row in rows])
    assert orders[0] != orders[3]


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
    assert "vkd cache is for classification" in refused.stderr
