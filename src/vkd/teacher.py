"""What a teacher is: features and logits of a batch, computed or stored."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from vkd.features import (
    FeatureTap,
    Inputs,
    Pool,
    call,
    device_of,
    logits_of,
    pooling,
    prefix_tokens_of,
)
from vkd.precision import AS_AROUND, Precision


class TeacherOutput(NamedTuple):
    """A teacher's outputs for a batch of N samples.

    Attributes:
        features: pooled features (N, D) by layer; D may differ between layers.
        logits: (N, classes); None where the teacher has none.
    """

    features: dict[str, Tensor]
    logits: Tensor | None = None

    @property
    def only(self) -> Tensor:
        """The features (N, D) of the only layer.

        Raises:
            ValueError: if there are several layers, or none.
        """
        if len(self.features) != 1:
            raise ValueError(
                f"The teacher's output has {len(self.features)} layers, expected one: "
                f"{_names(self.features)}."
            )
        return next(iter(self.features.values()))

    def each(self, function: Callable[[Tensor], Tensor]) -> "TeacherOutput":
        """Return the output with ``function`` applied to every tensor."""
        features = {layer: function(part) for layer, part in self.features.items()}
        return TeacherOutput(features, None if self.logits is None else function(self.logits))


def joined(parts: Iterable[TeacherOutput]) -> TeacherOutput:
    """Return the outputs for several batches, at least one, as those for one."""
    first, *rest = parts
    features = {
        layer: torch.cat([part, *(other.features[layer] for other in rest)])
        for layer, part in first.features.items()
    }
    logits = [part.logits for part in (first, *rest) if part.logits is not None]
    return TeacherOutput(features, torch.cat(logits) if logits else None)


class Teacher(Protocol):
    """Returns features and logits of a batch: a network, stored outputs, or a plain function.

    ``indices`` (N,) are the samples' positions in their data set, by which stored outputs are
    found.
    """

    def __call__(self, images: Tensor, indices: Tensor | None = None) -> TeacherOutput: ...


@runtime_checkable
class StoredTeacher(Protocol):
    """A teacher whose outputs are found by ``indices`` alone, and whose widths are known.

    Attributes:
        widths: number of features by layer.
        num_classes: number of logits; None without logits.
    """

    @property
    def widths(self) -> dict[str, int]: ...

    @property
    def num_classes(self) -> int | None: ...

    def __call__(self, images: Tensor, indices: Tensor | None = None) -> TeacherOutput: ...


@runtime_checkable
class CountsClasses(Protocol):
    """A network that says how many classes it knows, as timm's do.

    Attributes:
        num_classes: 0 where its output is features and no logits.
    """

    num_classes: int


class NetworkTeacher:
    """A frozen network in eval mode that computes without gradients.

    It is no ``nn.Module`` on purpose: whatever holds it neither trains, saves nor wraps it.

    Args:
        model: any network; frozen here. Its logits are its output, or the part ``logits`` of it;
            one that says it has no classes gives none.
        layers: name or names of the submodules whose outputs are the features; see
            ``vkd.features.FeatureTap``.
        pool: see ``vkd.features.pooling``.
        adapter: applied to the images first.

    Attributes:
        precision: arithmetic and layout that it computes in, by default those of the code around.
            Its weights stay as they are.

    Raises:
        ValueError: if ``model`` has no such layer, or no layer is named.
    """

    precision: Precision = AS_AROUND

    def __init__(
        self,
        model: nn.Module,
        layers: str | Sequence[str],
        pool: str | Pool = "auto",
        adapter: nn.Module | None = None,
    ) -> None:
        names = [layers] if isinstance(layers, str) else list(dict.fromkeys(layers))
        if not names:
            raise ValueError("layers must name at least one layer of the teacher, found none.")
        self._taps = _taps(model, names)
        self._pool = pooling(pool, prefix_tokens_of(model))
        self._gives_logits = not (isinstance(model, CountsClasses) and model.num_classes == 0)
        self._is_closed = False
        self.model = model.eval().requires_grad_(False)
        self.adapter = nn.Identity() if adapter is None else adapter

    @torch.no_grad()
    def __call__(self, images: Inputs, indices: Tensor | None = None) -> TeacherOutput:
        """Return the outputs for images (N, C, H, W); ``indices`` are not used.

        Other inputs than one tensor, a tuple of positional ones or a mapping of keywords, reach
        the model as they are.

        Raises:
            RuntimeError: after ``close``.
            ValueError: for other inputs where there is an adapter, which takes images.
        """
        if self._is_closed:
            raise RuntimeError("This teacher is closed and has no taps any more; make a new one.")
        device = device_of(images)
        # Whoever else holds the model may have moved it or called train() on it.
        if device is not None:
            self.model.to(device)
        self.model.eval()
        if isinstance(images, Tensor):
            images = self.precision.laid_out(self.adapter.to(device)(images))
        elif not isinstance(self.adapter, nn.Identity):
            raise ValueError(
                f"The teacher's adapter takes one tensor of images, found {type(images).__name__}."
            )
        with self.precision.running(device.type if device else "cpu"):
            output = call(self.model, images)
        logits = logits_of(output) if self._gives_logits else None
        returned = self.precision.returned
        features = {tap.layer: self._pool(returned(tap.take())) for tap in self._taps}
        return TeacherOutput(features, None if logits is None else returned(logits))

    def close(self) -> None:
        """Remove the taps from the model; it stays frozen."""
        for tap in self._taps:
            tap.remove()
        self._is_closed = True


class MemoryTeacher:
    """Runs a teacher once over a data set, and finds its outputs by index from then on.

    For images that are the same in every epoch. The teacher runs at the first call, over all
    images in their order and on the device of that call, so that outputs are the same bit for bit
    in a run that is resumed. Then teacher and images are let go.

    Args:
        teacher: computes the outputs; runs over two images here, for ``widths``.
        images: the whole data set (N, C, H, W), in the order of its indices.
        batch_size: images in a batch of the teacher, above 0.

    Attributes:
        widths: number of features by layer.
        num_classes: number of logits; None without logits.
    """

    def __init__(self, teacher: Teacher, images: Tensor, batch_size: int = 256) -> None:
        self.widths, self.num_classes = widths_of(teacher(images[:2]))
        self._source: tuple[Teacher, Tensor] | None = (teacher, images)
        self._batch_size = batch_size
        self._outputs: TeacherOutput | None = None

    def __call__(self, images: Tensor, indices: Tensor | None = None) -> TeacherOutput:
        """Return the outputs for the samples ``indices`` (N,), on the device of ``images``.

        Raises:
            RuntimeError: if it was closed before its first call.
            ValueError: without ``indices``, or with more or fewer than images.
        """
        rows, device = required(indices, images), device_of(images)
        if self._outputs is None:
            if self._source is None:
                raise RuntimeError("This teacher was closed before it ran; make a new one.")
            teacher, everything = self._source
            batches = everything.split(self._batch_size)
            self._outputs = joined(teacher(batch.to(device)) for batch in batches)
            self._source = None
        return self._outputs.each(lambda part: part[rows.to(part.device)].to(device))

    def close(self) -> None:
        """Close the teacher and let it go; outputs that were computed can still be found."""
        if self._source is not None and hasattr(self._source[0], "close"):
            self._source[0].close()
        self._source = None


def widths_of(output: TeacherOutput) -> tuple[dict[str, int], int | None]:
    """Return the numbers of features by layer, and that of logits, None without logits."""
    widths = {layer: part.shape[1] for layer, part in output.features.items()}
    return widths, None if output.logits is None else output.logits.shape[1]


def required(indices: Tensor | None, images: Any) -> Tensor:
    """Return the ``indices`` (N,) that a stored teacher cannot do without.

    Raises:
        ValueError: if there are none, or more or fewer than images.
    """
    if indices is None:
        raise ValueError(
            "A stored teacher needs indices, the positions (N,) of the images in their data set, "
            "found None; pass them as in distiller(images, indices=indices)."
        )
    if isinstance(images, Tensor) and indices.shape != images.shape[:1]:
        raise ValueError(
            f"indices must have shape ({len(images)},), one for each image, found "
            f"{tuple(indices.shape)}."
        )
    return indices


def _taps(model: nn.Module, layers: Iterable[str]) -> list[FeatureTap]:
    """Taps on all layers; none is left on the model if one layer does not exist."""
    taps: list[FeatureTap] = []
    try:
        for layer in layers:
            taps.append(FeatureTap(model, layer))
    except ValueError:
        for tap in taps:
            tap.remove()
        raise
    return taps


def _names(layers: Iterable[str]) -> str:
    names = [repr(layer) for layer in layers]
    return ", ".join(names[:6] + ["..."] * (len(names) > 6)) or "none"
