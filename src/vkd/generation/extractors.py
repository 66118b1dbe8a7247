"""Frozen vision networks that see images in -1..1: teachers, and extractors for metrics."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pickle import UnpicklingError
from typing import Protocol, cast

import torch
import torch_fidelity
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import Dataset
from torch_fidelity import feature_extractor_inceptionv3 as inceptionv3

from vkd.data.images import loader
from vkd.errors import RunError, reason_of, shortened
from vkd.features import Pool
from vkd.generation.config import INCEPTION
from vkd.generation.data import generator_format
from vkd.generation.metrics import ExtractorOutput
from vkd.inputs import InputAdapter, InputFormat
from vkd.models.biggan import Generator
from vkd.models.checkpoints import Checkpoint, read_checkpoint
from vkd.models.factory import HUB, create_model, last_layer, published_config
from vkd.teacher import NetworkTeacher, TeacherOutput, joined
from vkd.training.reading import read


def frozen_network(
    name: str,
    checkpoint: str,
    channels: int,
    layer: str = "",
    pool: str | Pool = "auto",
    network: nn.Module | None = None,
) -> NetworkTeacher:
    """Return a frozen classifier or backbone that takes images (N, C, 32, 32) in -1..1.

    Args:
        name: of `vkd models` or timm.
        checkpoint: weights file, run folder, or ``hub``.
        channels: of the images.
        layer: submodule whose output is the features; its last when empty.
        pool: see ``vkd.features.pooling``.
        network: given as an object, in place of name and checkpoint.

    Raises:
        UserError: for an unknown name, checkpoint or layer.
    """
    read: Checkpoint | None = None
    if network is None:
        if checkpoint not in ("", HUB):
            read = read_checkpoint(checkpoint)
        network = create_model(name, read or checkpoint)
    inputs = _network_format(network, read)
    # Averages of squares blur less than antialiased interpolation.
    adapter = InputAdapter(generator_format(channels), inputs, resize="area")
    return NetworkTeacher(network, layer or last_layer(network), pool, adapter)


def _network_format(network: nn.Module, checkpoint: Checkpoint | None) -> InputFormat:
    """How a network takes images: as its file says, else as published, else in -1..1 at 224."""
    if checkpoint is not None and checkpoint.inputs:
        return InputFormat.from_dict(checkpoint.inputs)
    published = InputFormat.from_pretrained_cfg(published_config(network))
    return published or InputFormat((0.5,) * 3, (0.5,) * 3, (224, 224))


class Extractor(Protocol):
    """Gives features and class logits of images (N, C, 32, 32) in -1..1."""

    def __call__(self, images: Tensor, indices: Tensor | None = None) -> TeacherOutput: ...


class Inception:
    """The Inception network of FID, with the weights that torch-fidelity publishes.

    Raises:
        RunError: if they cannot be fetched.
    """

    def __init__(self) -> None:
        try:
            with _checked_downloads():
                self._network = torch_fidelity.utils.create_feature_extractor(
                    "inception-v3-compat", ["2048", "logits_unbiased"], cuda=False, verbose=False
                )
        except (OSError, RuntimeError, UnpicklingError) as error:
            raise RunError(
                "The weights of Inception could not be fetched whole: "
                f"{shortened(reason_of(error), 120)}; name a local network as extractor, with its "
                "extractor_checkpoint."
            ) from None

    @torch.no_grad()
    def __call__(self, images: Tensor, indices: Tensor | None = None) -> TeacherOutput:
        colours = images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
        network = self._network.to(images.device)
        features, logits = network(((colours + 1) * 127.5).round().byte())
        return TeacherOutput({INCEPTION: features}, logits)


@contextmanager
def _checked_downloads() -> Iterator[None]:
    """Let torch-fidelity load tensors alone, whose file has the digest that its name ends in.

    Its own call unpickles whatever it fetched, or finds in the cache.
    """
    load = inceptionv3.load_state_dict_from_url
    inceptionv3.load_state_dict_from_url = partial(load, check_hash=True, weights_only=True)
    try:
        yield
    finally:
        inceptionv3.load_state_dict_from_url = load


def extractor_of(name: str, checkpoint: str, channels: int) -> Extractor:
    """Return the extractor of a name: ``inception``, or a classifier with its checkpoint."""
    return Inception() if name == INCEPTION else frozen_network(name, checkpoint, channels)


def extract_real(
    extractor: Extractor, images: Dataset, classes: int, accelerator: Accelerator
) -> ExtractorOutput:
    """Return an extractor's output for a data set's readable images of so many ``classes``.

    See ``extract_in_parts``.
    """
    found = read(loader(images, 500, classes=classes, lowest=-1))
    batches = [part for part in found if len(part[0])]
    whole, labels = (torch.cat([part[i] for part in batches]) for i in (0, 1))
    whole, labels = whole[labels >= 0], labels[labels >= 0]
    return extract_in_parts(extractor, lambda chosen: whole[chosen], labels, accelerator)


def extract_generated(
    extractor: Extractor,
    predict: Callable[..., Tensor],
    generator: Generator,
    count: int,
    accelerator: Accelerator,
) -> ExtractorOutput:
    """Return an extractor's output for ``count`` generated images, always of the same noise.

    Classes take turns. See ``extract_in_parts``.

    Args:
        extractor: see ``Extractor``.
        predict: the generator in eval mode, with its wrappers, called with noise and labels.
        generator: the same without wrappers, which draws the noise.
        count: images.
        accelerator: of the processes.
    """
    device = accelerator.device
    noise = generator.draw(count, torch.Generator().manual_seed(0))
    labels = torch.arange(count) % generator.num_classes

    def generated(chosen: Tensor) -> Tensor:
        return predict(noise[chosen].to(device), labels[chosen].to(device)).float()

    return extract_in_parts(extractor, generated, labels, accelerator)


@torch.no_grad()
def extract_in_parts(
    extractor: Extractor,
    images_of: Callable[[Tensor], Tensor],
    labels: Tensor,
    accelerator: Accelerator,
) -> ExtractorOutput:
    """Return an extractor's output; each process computes a part, all get the whole.

    Args:
        extractor: see ``Extractor``.
        images_of: maps indices (N,) to images (N, C, H, W) in -1..1.
        labels: of all images.
        accelerator: of the processes.
    """
    count = len(labels)
    share = -(-count // accelerator.num_processes)
    mine = (torch.arange(share) + share * accelerator.process_index).clamp(max=count - 1)
    device = accelerator.device
    output = joined(extractor(images_of(part).to(device)) for part in mine.split(250))
    features, logits = (
        accelerator.gather(part.float()) for part in (output.only, cast(Tensor, output.logits))
    )
    return ExtractorOutput(features[:count].cpu(), logits[:count].cpu(), labels)
