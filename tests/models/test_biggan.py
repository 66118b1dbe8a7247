"""BigGAN's generator and discriminator."""

import pytest
import torch
from torch import nn

from vkd.models.biggan import Discriminator, Generator


def test_sizes_are_those_of_biggan_for_cifar():
    generator, discriminator = Generator(channels=64), Discriminator(channels=64)
    images = generator(torch.randn(2, 128), torch.tensor([1, 7]))
    assert images.shape == (2, 3, 32, 32)
    assert images.abs().max() <= 1
    logits, features = discriminator(images, torch.tensor([1, 7]))
    assert logits.shape == (2,)
    assert features.shape == (2, 256)
    # The published configuration has 4.3 M and 4.2 M parameters at this width.
    sizes = [sum(p.numel() for p in net.parameters()) / 1e6 for net in (generator, discriminator)]
    assert sizes == pytest.approx([4.3, 4.2], abs=0.2)


def test_classes_move_images_and_logits():
    torch.manual_seed(0)
    generator, discriminator = Generator(channels=4).train(), Discriminator(channels=4)
    for block in generator.blocks:
        nn.init.normal_(block.norm1.scale.weight)
    noise = torch.randn(2, 128)
    first, second = (generator.eval()(noise, torch.tensor(labels)) for labels in ([0, 1], [0, 2]))
    assert first[0].equal(second[0])
    assert not first[1].equal(second[1])
    logits = [discriminator.eval()(first, torch.tensor(labels))[0] for labels in ([0, 1], [0, 2])]
    assert logits[0][0] == logits[1][0]
    assert logits[0][1] != logits[1][1]


def test_every_weight_of_the_discriminator_has_spectral_norm_one():
    torch.manual_seed(0)
    discriminator = Discriminator(channels=4).train()
    images, labels = torch.randn(4, 3, 32, 32), torch.arange(4)
    for _ in range(200):
        discriminator(images, labels)
    for name, module in discriminator.eval().named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear | nn.Embedding):
            value = torch.linalg.svdvals(module.weight.flatten(1))[0].item()
            assert value == pytest.approx(1, abs=0.02), name
