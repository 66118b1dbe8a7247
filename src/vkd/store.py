"""A teacher's outputs on disk: written once, then found by row; no network is needed any more.

A store is a folder with ``store.json``, which describes it, and numbered safetensors files
of so many rows each: tensors ``features`` of the only layer, or ``features:LAYER`` of each of
several, and ``logits`` where there are any. The files are mapped into memory, so that only rows
that are used are read. A file appears whole or not at all, so that a store can be completed.
"""

import json
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vkd.features import device_of
from vkd.teacher import TeacherOutput, required, widths_of

_DESCRIPTION = "store.json"
_FEATURES, _LOGITS = "features", "logits"


@dataclass(frozen=True)
class StoreDescription:
    """What a store holds.

    Attributes:
        images: of the data set that the teacher saw.
        views: augmented views of each; row r is view r // images of image r % images.
        seed: of the augmentation.
        dtype: of the numbers, float16 or float32.
        classes: names of the classes of the data.
        recipe: the settings that decide the teacher's inputs and outputs.
        rows_per_file: rows in each file but the last.
        pictures: digests of the images, see ``vkd.data.fingerprint``; empty in stores of earlier
            versions, and for data given as objects.
        teacher_weights: digest of the teacher's weights; empty until the teacher is there, and in
            stores of earlier versions.
    """

    images: int
    views: int
    seed: int
    dtype: str
    classes: list[str]
    recipe: dict[str, Any] = field(default_factory=dict)
    rows_per_file: int = 16384
    pictures: dict[str, str] = field(default_factory=dict)
    teacher_weights: str = ""

    @property
    def rows(self) -> int:
        """Rows in all."""
        return self.images * self.views

    @property
    def files(self) -> int:
        """Files in all."""
        return -(-self.rows // self.rows_per_file)

    def rows_of(self, number: int) -> range:
        """Return the rows of a file."""
        first = number * self.rows_per_file
        return range(first, min(first + self.rows_per_file, self.rows))


def is_store(folder: Path) -> bool:
    """Return whether a folder holds a store, complete or not."""
    return (folder / _DESCRIPTION).is_file()


def open_store(folder: Path, description: StoreDescription) -> None:
    """Make a store's folder, or check that the store in it is this one and can be completed.

    Raises:
        ValueError: if the folder holds another store, or something else.
    """
    if is_store(folder):
        # Pictures may have moved and changed their times; weights are compared when they are there.
        known = replace(description, pictures={}, teacher_weights="")
        if replace(describe(folder), pictures={}, teacher_weights="") != known:
            raise ValueError(f"{folder} holds another store; name a new folder.")
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} exists and is no store; name a new folder.")
    folder.mkdir(parents=True, exist_ok=True)
    _write_description(folder, description)


def bind_teacher(folder: Path, weights: str) -> None:
    """Note in a store the digest of its teacher's weights.

    Raises:
        ValueError: if it holds outputs of other weights.
    """
    known = describe(folder)
    if known.teacher_weights not in ("", weights):
        raise ValueError(f"{folder} holds outputs of other weights of the teacher; name a new one.")
    if not known.teacher_weights:
        _write_description(folder, replace(known, teacher_weights=weights))


def _write_description(folder: Path, description: StoreDescription) -> None:
    partial = folder / f"{_DESCRIPTION}.partial"
    partial.write_text(json.dumps(asdict(description), indent=1) + "\n")
    os.replace(partial, folder / _DESCRIPTION)


def describe(folder: Path) -> StoreDescription:
    """Return what a store holds.

    Raises:
        ValueError: if the folder is no store.
    """
    try:
        return StoreDescription(**json.loads((folder / _DESCRIPTION).read_text()))
    except (OSError, TypeError, ValueError):
        raise ValueError(f"{folder} is no store of a teacher's outputs.") from None


def file_of(folder: Path, number: int) -> Path:
    """Return the path of one of a store's files."""
    return folder / f"rows-{number:06d}.safetensors"


def write_rows(file: Path, outputs: TeacherOutput, dtype: str) -> None:
    """Write the rows of one file.

    Args:
        file: see ``file_of``.
        outputs: features of one layer or more (N, D), and logits or none.
        dtype: float16 or float32.

    Raises:
        ValueError: if a number is not finite in this dtype, or there are no features.
    """
    if not outputs.features:
        raise ValueError("The teacher's outputs must have the features of a layer, found none.")
    is_single = len(outputs.features) == 1
    named = {
        _FEATURES if is_single else f"{_FEATURES}:{layer}": part
        for layer, part in outputs.features.items()
    }
    if outputs.logits is not None:
        named[_LOGITS] = outputs.logits
    tensors = {
        name: part.to("cpu", getattr(torch, dtype)).contiguous() for name, part in named.items()
    }
    for name, part in tensors.items():
        if not part.isfinite().all():
            raise ValueError(f"The teacher's {name} are not finite in {dtype}.")
    partial = file.with_suffix(".partial")
    # safetensors sorts tensors by size and name; this keeps the order of the layers.
    save_file(tensors, partial, {"layers": json.dumps(list(outputs.features))})
    os.replace(partial, file)


class DiskTeacher:
    """Finds a teacher's outputs in a store by row; see ``vkd.teacher.StoredTeacher``.

    Where a store does not name its only layer, the name is empty.

    Args:
        folder: the store.

    Raises:
        ValueError: if the folder is no store, an incomplete one, or a file cannot be read or does
            not fit the store.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.description = folder, describe(folder)
        missing = [n for n in range(self.description.files) if not file_of(folder, n).is_file()]
        if missing:
            raise ValueError(
                f"{folder} is incomplete, {len(missing)} of {self.description.files} files are "
                "missing; the same command completes it."
            )
        # All at once: mapping a file reads only its header, and fails where it is not whole.
        self._parts = [_mapped(file_of(folder, n)) for n in range(self.description.files)]
        for number, part in enumerate(self._parts):
            if widths_of(part) != (self.widths, self.num_classes):
                raise ValueError(
                    f"{file_of(folder, number)} does not fit its store: it has {_named(part)}, the "
                    f"first file {_named(self._parts[0])}."
                )

    @property
    def widths(self) -> dict[str, int]:
        """Number of features by layer."""
        return widths_of(self._parts[0])[0]

    @property
    def num_classes(self) -> int | None:
        """Number of logits; None without logits."""
        return widths_of(self._parts[0])[1]

    def __call__(self, images: Tensor, indices: Tensor | None = None) -> TeacherOutput:
        """Return the outputs of the rows ``indices`` (N,), on the device of ``images``.

        Row r is view r // images of image r % images; see ``StoreDescription``.

        Raises:
            ValueError: without ``indices``, with more or fewer than images, or beyond the rows.
        """
        rows = required(indices, images).cpu()
        if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < self.description.rows:
            raise ValueError(
                f"indices must be in 0..{self.description.rows - 1}, the store's rows, found "
                f"{int(rows.min())}..{int(rows.max())}."
            )
        size = self.description.rows_per_file
        files, places = rows // size, rows % size
        found = self._parts[0].each(lambda part: part.new_empty(len(rows), part.shape[1]))
        for number in files.unique().tolist():
            chosen = files == number
            for target, part in zip(_all(found), _all(self._parts[number]), strict=True):
                target[chosen] = part[places[chosen]]
        device = device_of(images)
        return found.each(lambda part: part.to(device, torch.float32))


def _all(outputs: TeacherOutput) -> list[Tensor]:
    logits = [] if outputs.logits is None else [outputs.logits]
    return [*outputs.features.values(), *logits]


def _named(outputs: TeacherOutput) -> str:
    widths, classes = widths_of(outputs)
    features = ", ".join(f"{width} of {layer!r}" for layer, width in widths.items())
    return f"{features[:60]} features and {classes or 'no'} logits"


def _mapped(file: Path) -> TeacherOutput:
    try:
        with safe_open(file, "pt") as tensors:
            named = (tensors.metadata() or {}).get("layers")
            layers = json.loads(named) if named else [""]
            names = [_FEATURES] if len(layers) == 1 else [f"{_FEATURES}:{name}" for name in layers]
            parts = [tensors.get_tensor(name) for name in names]
            # Files that do not name their layers always have logits.
            has_logits = named is None or _LOGITS in tensors.keys()  # noqa: SIM118
            logits = tensors.get_tensor(_LOGITS) if has_logits else None
            return TeacherOutput(dict(zip(layers, parts, strict=True)), logits)
    except (OSError, SafetensorError, ValueError) as error:
        raise ValueError(f"{file} cannot be read: {error}") from None
