"""The losses of generator and discriminator."""

import pytest
import torch
from torch import nn

from support.gan import small_gan
from vkd import whiten
from vkd.generation.module import DiscriminatorModule, GeneratorModule
from vkd.methods.method import Sizes
from vkd.methods.vkd import VkD
from vkd.models.biggan import Discriminator, Generator
from vkd.teacher import TeacherOutput


class Known:
    """A teacher whose features are the images' first numbers."""

    def __call__(self, images, indices=None):
        return TeacherOutput({"": images.flatten(1)[:, :20]}, torch.zeros(len(images), 10))


def test_the_discriminators_loss_is_hinge_and_distance_to_whitened_features():
    torch.manual_seed(0)
    generator, discriminator = Generator(10, 1, 4, 8), Discriminator(10, 1, 4)
    config = small_gan(teacher_checkpoint="x", extractor_checkpoint="x", feature_weight=2.0)
    method = VkD(Sizes(student_dim=16, teacher_dim=20), normalization="whiten")
    module = DiscriminatorModule(discriminator, generator, config, Known(), method).eval()
    images, labels = torch.rand(6, 1, 32, 32) * 2 - 1, torch.arange(6)
    torch.manual_seed(1)
    terms = module((images, labels, labels))
    torch.manual_seed(1)
    made_labels = torch.randint(10, (6,))
    with torch.no_grad():
        made = generator(torch.randn(6, 8), made_labels)
        real, features = discriminator(images, labels)
        fake, _ = discriminator(made, made_labels)
        target = whiten(images.flatten(1)[:, :20])
        projected = features @ method.loss.projection.weight.T
        distance = torch.nn.functional.smooth_l1_loss(projected, target)
    torch.testing.assert_close(terms["real"], (1 - real).clamp(min=0).mean())
    torch.testing.assert_close(terms["fake"], (1 + fake).clamp(min=0).mean())
    torch.testing.assert_close(terms["feature"], 2 * distance)


def test_each_module_trains_its_own_network_alone():
    torch.manual_seed(0)
    generator, discriminator = Generator(10, 1, 4, 8), Discriminator(10, 1, 4)
    config = small_gan(teacher_checkpoint="x", extractor_checkpoint="x", diff_augment=True)
    modules = (GeneratorModule(generator, discriminator, config),
               DiscriminatorModule(discriminator, generator, config))  # fmt: skip
    batch = (torch.rand(6, 1, 32, 32), torch.arange(6), torch.arange(6))
    for module, trained, other in zip(
        modules, (generator, discriminator), (discriminator, generator), strict=True
    ):
        names = {id(p) for p in module.parameters()}
        assert names == {id(p) for p in trained.parameters()}
        torch.stack(list(module(batch).values())).sum().backward()
        assert all(p.grad is not None for p in trained.parameters())
        assert all(p.grad is None for p in other.parameters())
        trained.zero_grad(set_to_none=True)


@pytest.mark.parametrize("compile", [True, False])
def test_compile_reaches_generator_and_discriminator(monkeypatch, compile):
    compiled = []
    monkeypatch.setattr(nn.Module, "compile", lambda module, *_, **__: compiled.append(module))
    generator, discriminator = Generator(10, 1, 4, 8), Discriminator(10, 1, 4)
    config = small_gan(teacher_checkpoint="x", extractor_checkpoint="x", compile=compile)
    GeneratorModule(generator, discriminator, config)
    DiscriminatorModule(discriminator, generator, config)
    assert compiled == ([generator, discriminator] if compile else [])
