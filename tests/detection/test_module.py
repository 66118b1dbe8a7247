"""What of a recipe reaches the detector."""

import pytest
import torch
from torch import nn

from vkd.detection.config import DetectionConfig
from vkd.detection.module import DetectionModule
from vkd.models import create_model


@pytest.fixture
def compiled(monkeypatch):
    """The networks that are compiled; none is."""
    found = []
    monkeypatch.setattr(nn.Module, "compile", lambda module, *_, **__: found.append(module))
    return found


def module_of(**changes):
    config = DetectionConfig(dataset="digits-detection", student="vidt_digits", **changes)
    return DetectionModule(create_model("vidt_digits"), config)


@pytest.mark.parametrize("channels_last", [True, False])
def test_channels_last_reaches_weights_and_images(channels_last):
    module, seen = module_of(channels_last=channels_last), []
    kernels = [m for m in module.modules() if isinstance(m, nn.Conv2d) and m.kernel_size > (1, 1)]
    assert kernels
    last = torch.channels_last
    assert {k.weight.is_contiguous(memory_format=last) for k in kernels} == {channels_last}
    module.student.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    target = {"labels": torch.tensor([1]), "boxes": torch.tensor([[0.5, 0.5, 0.2, 0.2]])}
    module({"images": [torch.randn(3, 64, 64)] * 2, "targets": [target] * 2})
    assert seen[0].is_contiguous(memory_format=last) == channels_last


@pytest.mark.parametrize("compile", [True, False])
def test_compile_reaches_the_detector(compiled, compile):
    module = module_of(compile=compile)
    assert compiled == ([module.student] if compile else [])


@pytest.mark.parametrize("auxiliary", [True, False])
def test_measures_are_the_layers_of_the_terms(auxiliary):
    torch.manual_seed(0)
    module = module_of(auxiliary_losses=auxiliary)
    assert module.measures() == {}
    target = {"labels": torch.tensor([1]), "boxes": torch.tensor([[0.5, 0.5, 0.2, 0.2]])}
    terms = module({"images": [torch.randn(3, 64, 64)] * 2, "targets": [target] * 2})
    found = module.measures()
    assert not any(value.requires_grad for value in found.values())
    weights = module.config.loss_weights()
    for kind, term in terms.items():
        layers = [value for name, value in found.items() if name.split(".")[0] == kind]
        assert len(layers) == (4 if auxiliary else 1)
        torch.testing.assert_close(weights[kind] * sum(layers), term.detach())
    assert found["class_error"] in (0, 50, 100)
