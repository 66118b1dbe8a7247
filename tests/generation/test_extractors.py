"""Frozen networks see generated images as they were trained."""

import torch

from vkd.data.sources import PhotographSource
from vkd.generation.data import read_generation
from vkd.generation.extractors import frozen_network


def test_networks_see_images_as_they_were_trained(digits_teacher):
    from vkd.data.small import read_small

    splits = read_small("digits")
    network = frozen_network("cnn_digits", str(digits_teacher), "features")
    images, labels, _ = splits.test[:200] if isinstance(splits.test, list) else (
        splits.test.images[:200], splits.test.labels[:200], None)  # fmt: skip
    raw = images * splits.format.std[0] + splits.format.mean[0]
    direct = network.model.eval()(images)
    torch.testing.assert_close(network(raw * 2 - 1).logits, direct, atol=1e-4, rtol=1e-4)
    large = read_generation(PhotographSource("digits", "")).test
    found = network(large.images[:200]).logits.argmax(1)
    right, expected = ((part == labels).float().mean() for part in (found, direct.argmax(1)))
    assert right > expected - 0.1
    assert right > 0.5
