"""Stores of mixed images: training sees what the network would have said of the same pairs."""

import json
import math
from dataclasses import replace

import pytest
import torch
from accelerate.utils import send_to_device, set_seed
from safetensors.torch import load_file
from torch.optim import AdamW

from support.waiting import check
from vkd.api.cache import cache
from vkd.api.train import train
from vkd.classification import teachers
from vkd.classification.task import ClassificationTask
from vkd.errors import UserError
from vkd.recipe import recipe
from vkd.store.teacher import DiskTeacher
from vkd.training.records import read_metrics

MIXING = {"mixup": 0.8, "cutmix": 1.0, "mixup_mode": "pair", "label_smoothing": 0.1}


@pytest.fixture(scope="session")
def config(digits_teacher):
    """215 images, an odd number."""
    return recipe(
        "digits", teacher_checkpoint=str(digits_teacher), device="cpu", trackers="", epochs=3,
        warmup_epochs=0, train_fraction=0.3, logit_weight=1.0, crop_padding=1, flip=True,
        student="conv_vit_digits", **MIXING,
    )  # fmt: skip


@pytest.fixture(scope="session")
def exact(config, tmp_path_factory):
    """The recipe with a store of two views in float32."""
    folder = tmp_path_factory.mktemp("stores") / "exact"
    cache(config, folder, views=2, dtype="float32", show=False)
    return replace(config, teacher_store=str(folder))


def trained(config, network=None, steps=20):
    """The loss terms of each step; a network is asked about the same mixed views."""
    set_seed(0)
    task = ClassificationTask(config)
    module, found = task.steps[0].module, []
    if network is not None:
        module._taught = lambda images, indices, stored: network(images, indices)
    optimizer = AdamW(module.parameters(), lr=1e-3)
    batches = task.train_loader()
    for epoch in range(math.ceil(steps / len(batches))):
        batches.sampler.set_epoch(epoch)
        for batch in batches:
            terms = module.train()(batch)
            optimizer.zero_grad()
            torch.stack(list(terms.values())).sum().backward()
            optimizer.step()
            found.append({name: term.item() for name, term in terms.items()})
    return found[:steps]


def test_twenty_steps_from_a_store_equal_those_with_the_network(exact):
    splits = ClassificationTask(exact).splits
    network = teachers.network_teacher(exact, splits.format)
    seen = []
    network.model.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    stored, asked = trained(exact), trained(exact, network)
    assert sum(seen) >= 20 * exact.batch_size
    assert len(stored) == 20
    assert set(stored[0]) == {"feature", "logit", "label"}
    for ours, theirs in zip(stored, asked, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-5)
    assert stored[0]["label"] > stored[-1]["label"]


def test_a_network_without_the_mixing_would_not_do(exact):
    """The comparison above would see wrong partners."""
    task = ClassificationTask(exact)
    images, labels, rows, stored = next(iter(task.train_loader()))
    other = stored._replace(mixing=stored.mixing.roll(2, 0))
    terms = [task.steps[0].module((images, labels, rows, part)) for part in (stored, other)]
    assert abs(terms[0]["feature"] - terms[1]["feature"]) > 1e-3
    with pytest.raises(ValueError, match="must come with its store's mixing"):
        task.steps[0].module((images, labels, rows))


@pytest.mark.parametrize("place", ["cpu", "meta"])
def test_a_step_from_a_store_makes_no_device_wait(exact, place):
    task = ClassificationTask(exact)
    module = task.steps[0].module.to(place)
    batch = send_to_device(next(iter(task.train_loader())), place)
    check(lambda: torch.stack(list(module(batch).values())).sum().backward(), place)


def batches_of(config, epoch=0, workers=0):
    batches = ClassificationTask(replace(config, workers=workers)).train_loader()
    batches.sampler.set_epoch(epoch)
    return list(batches)


@pytest.mark.parametrize("batch_size", [2, 6, 50, 106])
def test_any_even_batch_holds_whole_pairs_and_each_image_once(exact, batch_size):
    for epoch in (0, 1):
        task = ClassificationTask(replace(exact, batch_size=batch_size))
        batches = batches_of(task.config, epoch)
        rows = torch.cat([batch[2] for batch in batches])
        assert len(rows) == 214 // batch_size * batch_size
        assert torch.equal(rows[1::2], rows[0::2] + 1)
        assert (rows // 214).unique().tolist() == [epoch]
        images = [task.images.image_of(row) for row in rows.tolist()]
        assert len(set(images)) == len(images)
    with pytest.raises(UserError, match="batch_size must be even"):
        replace(exact, batch_size=51)


def same(ours, theirs):
    """Whether batches are equal bit for bit."""
    parts = [(a[0], a[1], a[2], a[3].mixing, *a[3].rows.values()) for a in (ours, theirs)]
    return all(torch.equal(a, b) for a, b in zip(*parts, strict=True))


def test_workers_give_the_same_batches(exact):
    alone, helped = batches_of(exact), batches_of(exact, workers=2)
    assert len(alone) == 3
    assert all(same(a, b) for a, b in zip(alone, helped, strict=True))


@pytest.mark.slow
def test_two_processes_share_the_batches_of_one(two_processes, digits_teacher):
    from support.two_processes import mixed_store

    config = mixed_store(digits_teacher, two_processes / "mixed-store")
    for epoch in (0, 1):
        whole = batches_of(config, epoch)
        shares = [torch.load(two_processes / f"mixed-{epoch}-{rank}.pt") for rank in (0, 1)]
        assert len(whole) == 5
        assert [len(share) for share in shares] == [2, 2]
        for index, batch in enumerate(whole[:4]):
            found = shares[index % 2][index // 2]
            expected = [*batch[:3], batch[3].mixing, *batch[3].rows.values()]
            assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
            assert torch.equal(found[2][1::2], found[2][0::2] + 1)


def test_the_image_that_is_left_out_is_another_in_each_view_and_said(exact, caplog):
    caplog.set_level("WARNING", "vkd")
    task = ClassificationTask(exact)
    assert "of 215 one is left out of each view" in caplog.text
    left = [
        set(range(215)) - {task.images.image_of(214 * view + place) for place in range(214)}
        for view in range(2)
    ]
    assert [len(part) for part in left] == [1, 1]
    assert left[0] != left[1]


def test_a_run_with_a_mixed_store_resumes_bit_for_bit(exact, tmp_path, train_in_two_parts):
    train(exact, tmp_path / "whole", show=False)
    train_in_two_parts(replace(exact, checkpoint_every=1), tmp_path / "parts")
    whole, parts = (load_file(tmp_path / n / "model.safetensors") for n in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert len(read_metrics(tmp_path / "parts")) == 3


def test_small_formats_are_close_and_report_what_they_keep(config, exact, tmp_path):
    sizes = cache(config, tmp_path / "small", views=2, dtype="int8", top_k=3, show=False)
    assert sizes["row_bytes"] == 128 + 4 + 3 * (2 + 2) + 2 + 8
    images, rows = torch.zeros(428, 1), torch.arange(428)
    small, whole = (
        DiskTeacher(path)(images, rows)
        for path in (tmp_path / "small", tmp_path / exact.teacher_store)
    )
    mass = whole.logits.softmax(1).topk(3).values.sum(1)
    assert sizes["kept_mass"] == pytest.approx(mass.mean().item(), abs=2e-3)
    assert sizes["least_kept_mass"] == pytest.approx(mass.min().item(), abs=2e-3)
    step = whole.only.abs().amax(1, keepdim=True) / 127
    assert ((small.only - whole.only).abs() <= step / 2 * 1.001).all()
    stored = replace(config, teacher_store=str(tmp_path / "small"))
    assert trained(stored, steps=3)[2]["feature"] == pytest.approx(
        trained(exact, steps=3)[2]["feature"], rel=0.02
    )


def test_a_student_alone_is_mixed_anew_and_needs_no_store(exact):
    alone = replace(exact, feature_weight=0.0, logit_weight=0.0, teacher_store="nowhere")
    task = ClassificationTask(alone)
    images, labels, rows = next(iter(task.train_loader()))
    assert set(task.steps[0].module((images, labels, rows))) == {"label"}


def test_each_part_of_mixing_decides_a_store(exact, tmp_path):
    changes = {
        "mixup": 0.7, "cutmix": 0.0, "cutmix_max": 0.8, "mixup_probability": 0.9,
        "mixup_switch_probability": 0.4,
    }  # fmt: skip
    for name, value in changes.items():
        with pytest.raises(UserError, match=f"has {name} .*, the recipe {value}"):
            ClassificationTask(replace(exact, **{name: value}))
    # What only labels see decides nothing.
    ClassificationTask(replace(exact, label_smoothing=0.0))
    plain = replace(exact, mixup=0.0, cutmix=0.0, mixup_mode="batch", label_smoothing=0.0)
    with pytest.raises(UserError, match=r"has mixup 0\.8, the recipe 0\.0"):
        ClassificationTask(plain)


def test_a_recipe_that_mixes_takes_views_and_two_images(config, tmp_path):
    plain = replace(config, crop_padding=0, flip=False)
    with pytest.raises(UserError, match="views must be the number"):
        cache(plain, tmp_path / "store", show=False)
    for change, message in (
        ({"top_k": 10}, "^top_k must be below the number of the teacher's logits, found 10 of 10"),
        ({"top_k": -1}, "top_k must be from 0 to 1,000,000, found -1"),
        ({"dtype": "int4"}, "dtype must be one of float16, float32, int8, found 'int4'"),
        ({"views": -1}, "views must be from 0 to 1,000,000, found -1"),
    ):
        with pytest.raises(UserError, match=message):
            cache(config, tmp_path / "store", **{"views": 1, **change}, show=False)


def test_rows_sizes_and_time_are_printed_before_a_store_is_filled(vkd, digits_teacher, tmp_path):
    made = vkd(
        "cache", "digits", "--teacher-checkpoint", digits_teacher, "--output", tmp_path / "store",
        "--mixup", "0.8", "--mixup-mode", "pair", "--views", 2, "--dtype", "int8", "--top-k", 2,
        "--batch-size", 32,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    assert "1,436 rows of 150 bytes: 0.2 MB in all, 1,436 rows are missing" in made.stderr
    assert "minutes on this machine" in made.stderr
    assert "kept_mass: 0." in made.stdout
    known = json.loads((tmp_path / "store" / "store.json").read_text())
    assert (known["pairs"], known["top_k"], known["recipe"]["mixup"]) == (True, 2, 0.8)
