"""Stores of a discriminator's teacher."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate.utils import set_seed
from safetensors.torch import load_file

from vkd.api.cache import cache
from vkd.api.train import train
from vkd.errors import UserError
from vkd.generation.task import GenerationTask
from vkd.generation.teachers import network_teacher
from vkd.store.description import describe
from vkd.store.teacher import DiskTeacher


@pytest.fixture(scope="module")
def exact(config, tmp_path_factory):
    """The recipe with a store in float32."""
    folder = tmp_path_factory.mktemp("stores") / "exact"
    cache(config, folder, dtype="float32", show=False)
    return replace(config, teacher_store=str(folder))


def trained(task, batches, change=lambda batch: batch):
    """The loss terms of each step, of generator and discriminator in turns."""
    optimizers = [torch.optim.Adam(step.module.parameters(), lr=2e-4) for step in task.steps]
    found = []
    set_seed(0)  # of the noise
    for batch in batches:
        terms = {}
        for step, optimizer in zip(task.steps, optimizers, strict=True):
            part = step.module.train()(change(batch))
            optimizer.zero_grad()
            torch.stack(list(part.values())).sum().backward()
            optimizer.step()
            terms |= {name: term.item() for name, term in part.items()}
        found.append(terms)
    return found


@pytest.mark.parametrize("whitening", ["data", "batch"])
def test_twenty_steps_from_a_store_equal_those_with_the_network(config, exact, whitening):
    exact = replace(exact, whitening=whitening, batch_size=6)
    plain = replace(config, whitening=whitening, batch_size=6)
    ours, theirs = GenerationTask(exact), GenerationTask(plain)
    for one, other in zip(ours.steps, theirs.steps, strict=True):
        other.module.load_state_dict(one.module.state_dict())
    batches = list(ours.train_loader())[:20]
    assert len(batches) == 20
    stored = trained(ours, batches)
    # Without a store an index is that of all images.
    indices = theirs.splits.indices
    asked = trained(theirs, batches, lambda batch: (*batch[:2], indices[batch[2]]))
    assert set(stored[0]) == {"generator", "real", "fake", "feature"}
    for found, expected in zip(stored, asked, strict=True):
        assert found == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_a_store_holds_plain_features_of_the_share_that_is_trained_on(config, exact):
    task = GenerationTask(config)
    images, _, _ = task.splits.train.__getitems__(list(range(len(task.splits.train))))
    store = DiskTeacher(Path(exact.teacher_store))
    found = store(images, torch.arange(len(images)))
    expected = network_teacher(config, task.splits)(images)
    torch.testing.assert_close(found.only, expected.only, rtol=1e-5, atol=1e-5)
    known = describe(Path(exact.teacher_store))
    assert (known.images, known.views, known.pairs) == (len(images), 1, False)
    assert known.recipe["fraction"] == config.fraction
    assert known.pictures["listing"]


def test_mirrored_images_are_stored_as_views(config, tmp_path):
    flipped = replace(config, flip=True)
    with pytest.raises(UserError, match="views must be the number"):
        cache(flipped, tmp_path / "store", show=False)
    sizes = cache(flipped, tmp_path / "store", views=2, dtype="int8", show=False)
    stored = replace(flipped, teacher_store=str(tmp_path / "store"))
    task = GenerationTask(stored)
    assert sizes["rows"] == 2 * len(task.splits.train)
    batches = task.train_loader()
    for epoch in (0, 1):
        batches.sampler.set_epoch(epoch)
        for images, _, rows, part in batches:
            assert (rows // len(task.splits.train) == epoch).all()
            expected = network_teacher(config, task.splits)(images).only
            torch.testing.assert_close(part.output.only, expected, atol=0.02, rtol=0.02)


def test_a_run_with_a_store_resumes_bit_for_bit(exact, tmp_path, train_in_two_parts):
    config = replace(exact, samples=100, teacher_checkpoint="")
    train(config, tmp_path / "whole", show=False)
    train_in_two_parts(config, tmp_path / "parts")
    whole, parts = (load_file(tmp_path / n / "model.safetensors") for n in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_what_does_not_fit_a_store_is_refused(exact, tmp_path):
    with pytest.raises(UserError, match="diff_augment must be false with a store"):
        replace(exact, diff_augment=True)
    for change, message in (
        ({"fraction": 0.3}, "has fraction 0.2, the recipe 0.3"),
        ({"subset_seed": 4}, "has subset_seed 0, the recipe 4"),
        ({"flip": True}, "has flip False, the recipe True"),
        ({"teacher_layer": "head"}, "has teacher_layer 'features', the recipe 'head'"),
    ):
        with pytest.raises(UserError, match=message):
            GenerationTask(replace(exact, **change))
    with pytest.raises(UserError, match="diff_augment must be false with a store"):
        cache("gan-fashion-mnist", tmp_path / "store", diff_augment=True)
