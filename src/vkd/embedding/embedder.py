"""A deployed student, ready for pictures."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from vkd.data.pictures import open_picture
from vkd.data.prediction import list_pictures
from vkd.data.transforms import evaluation_transform
from vkd.embedding.config import EmbeddingConfig
from vkd.embedding.data import student_format
from vkd.embedding.projections import saved_projection
from vkd.errors import FieldError, UserError, reason_of, shortened
from vkd.inputs import InputFormat
from vkd.models.checkpoints import Checkpoint, load_checkpoint
from vkd.models.factory import create_model
from vkd.notes import say
from vkd.training.task import Objects


class Embedder:
    """Maps images, or picture files, to embeddings.

    Args:
        network: gives embeddings (N, D) of images (N, C, H, W); put into eval mode here.
        inputs: how its images are prepared.
        name: of the network.
        projection: the orthogonal projection (teacher_dim, D) that was trained beside it; None
            where there is none.

    Attributes:
        width: D.

    Raises:
        UserError: if the network does not take such images, or returns no (N, D).
    """

    def __init__(
        self,
        network: nn.Module,
        inputs: InputFormat,
        name: str,
        projection: Tensor | None = None,
    ) -> None:
        if inputs.size is None:
            raise UserError(f"{name} does not say of which size its images are.")
        self.network, self.inputs, self.name = network.eval(), inputs, name
        self.width = _width(network, inputs, name)
        self.projection = projection
        self._prepare = evaluation_transform(inputs)

    @classmethod
    def of(cls, config: EmbeddingConfig, checkpoint: Checkpoint, objects: Objects) -> "Embedder":
        """Return the student of a checkpoint, with the projection that lies beside its weights.

        Args:
            config: the recipe that the checkpoint belongs to.
            checkpoint: the weights.
            objects: the student, where it is given as an object.

        Raises:
            UserError: if the weights do not fit.
        """
        network = student_of(config, checkpoint, objects)
        name = config.objects.get("student", config.student)
        inputs = input_format(config, checkpoint, objects)
        found = cls(network, inputs, name)
        found.projection = saved_projection(checkpoint, found.width)
        return found

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Return the embeddings (N, width), float32, of prepared images (N, C, H, W)."""
        return self.network(images).float()

    def embed(self, files: Sequence[str], batch_size: int) -> Iterator[tuple[list[str], Tensor]]:
        """Yield names and embeddings (N, width) of pictures, batch by batch.

        Pictures that cannot be read are named in the log and skipped.

        Args:
            files: names of files, folders for all pictures below them, or patterns.
            batch_size: pictures that are read at once.

        Raises:
            UserError: if a folder holds no picture, or nothing matches a pattern.
        """
        for names, features, errors in self.answer(list_pictures(files), batch_size):
            for error in errors.values():
                say("skipped", [error.rstrip(".")])
            if names:
                yield names, features

    def answer(
        self,
        files: Sequence[str],
        batch_size: int,
        embed: Callable[[Tensor], Tensor] | None = None,
    ) -> Iterator[tuple[list[str], Tensor, dict[str, str]]]:
        """Yield names and embeddings of a batch's readable pictures, and the others' errors.

        Args:
            files: names of picture files.
            batch_size: files that are read at once.
            embed: takes the place of this embedder on its images, as a teacher does.
        """
        embed = embed or self
        mode = "L" if self.inputs.channels == 1 else "RGB"
        for first in range(0, len(files), batch_size):
            names, images, errors = [], [], {}
            for file in files[first : first + batch_size]:
                try:
                    images.append(self._prepare(open_picture(Path(file), mode)))
                    names.append(file)
                except UserError as error:
                    errors[file] = str(error)
            empty = torch.zeros(0, self.width)
            yield names, embed(torch.stack(images)) if images else empty, errors


def student_of(config: EmbeddingConfig, checkpoint: Checkpoint, objects: Objects) -> nn.Module:
    """Return a checkpoint's network, in eval mode, whose call gives embeddings."""
    if objects.student is not None:
        return load_checkpoint(objects.student, checkpoint).eval()
    return create_model(config.student, checkpoint, num_classes=0).eval()


def input_format(
    config: EmbeddingConfig, checkpoint: Checkpoint, objects: Objects | None = None
) -> InputFormat:
    """Return how a checkpoint's network takes images: as its file says, else as it is published."""
    if not checkpoint.inputs:
        return student_format(config, objects.student if objects else None)
    found = InputFormat.from_dict(checkpoint.inputs)
    size = found.size or (config.input_size, config.input_size)
    return replace(found, size=size, crop=config.evaluation_crop or found.crop)


@torch.no_grad()
def _width(network: nn.Module, inputs: InputFormat, name: str) -> int:
    """The number of features, tried with images of the format."""
    assert inputs.size is not None
    shape = (2, inputs.channels, *inputs.size)
    try:
        found = network(torch.zeros(shape))
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(
            f"{shortened(name, 80)} does not take images {shape[1:]}: "
            f"{shortened(reason_of(error), 120)}."
        ) from None
    return width_of(found, name)


def width_of(embedding: object, name: str) -> int:
    """Return the number of features of a network's output.

    Raises:
        FieldError: if it is no tensor (N, D).
    """
    if isinstance(embedding, Tensor) and embedding.ndim == 2:
        return embedding.shape[1]
    is_tensor = isinstance(embedding, Tensor)
    shown = tuple(embedding.shape) if isinstance(embedding, Tensor) else type(embedding).__name__
    raise FieldError(
        "student",
        f"{shortened(name, 80)} must return one embedding (N, D) of each image, found "
        f"{'a tensor ' if is_tensor else ''}{shown}.",
    )
