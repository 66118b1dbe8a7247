"""A teacher's outputs on disk: written once, then found by row; no network is needed any more.

A store is a folder with ``store.json``, which describes it, and numbered safetensors files
of so many rows each: tensors ``features`` of the only layer, or ``features:LAYER`` of each of
several, ``logits`` where there are any, and ``checks``, the CRC-32 of each row. The files are
mapped into memory, so that only rows that are used are read. A file appears whole or not at all,
so that a store can be completed.
"""

import json
import os
import re
import zlib
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vkd.errors import RunError
from vkd.features import device_of
from vkd.store_description import DESCRIPTION_FILE, StoreDescription, describe
from vkd.teacher import TeacherOutput, required, widths_of

_FEATURES, _LOGITS, _CHECKS = "features", "logits", "checks"


def is_store(folder: Path) -> bool:
    """Return whether a folder holds a store, complete or not."""
    return (folder / DESCRIPTION_FILE).is_file()


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
    partial = folder / f"{DESCRIPTION_FILE}.partial"
    partial.write_text(json.dumps(asdict(description), indent=1) + "\n")
    os.replace(partial, folder / DESCRIPTION_FILE)


def file_of(folder: Path, number: int) -> Path:
    """Return the path of one of a store's files."""
    return folder / f"rows-{number:06d}.safetensors"


def present_files(folder: Path, description: StoreDescription) -> list[int]:
    """Return the numbers of the files that are there, in order."""
    found = (re.fullmatch(r"rows-(\d{6,})\.safetensors", path.name) for path in folder.iterdir())
    numbers = sorted(int(match[1]) for match in found if match)
    return [number for number in numbers if number < description.files]


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
    tensors[_CHECKS] = _checks(list(tensors.values()))
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
        missing = self.description.files - len(present_files(folder, self.description))
        if missing:
            raise ValueError(
                f"{folder} is incomplete, {missing} of {self.description.files} files are missing; "
                "the same command completes it."
            )
        numbers = range(self.description.files)
        # All at once: mapping a file reads only its header, and fails where it is not whole.
        self._parts = [open_rows(folder, number, self.description) for number in numbers]
        for number, part in enumerate(self._parts):
            if widths_of(part.outputs) != (self.widths, self.num_classes):
                raise ValueError(
                    f"{file_of(folder, number)} does not fit its store: it has "
                    f"{_named(part.outputs)}, the first file {_named(self._parts[0].outputs)}."
                )

    @property
    def widths(self) -> dict[str, int]:
        """Number of features by layer."""
        return widths_of(self._parts[0].outputs)[0]

    @property
    def num_classes(self) -> int | None:
        """Number of logits; None without logits."""
        return widths_of(self._parts[0].outputs)[1]

    def __call__(self, images: Tensor, indices: Tensor | None = None) -> TeacherOutput:
        """Return the outputs of the rows ``indices`` (N,), on the device of ``images``.

        Row r is view r // images of image r % images; see ``StoreDescription``.

        Raises:
            ValueError: without ``indices``, with more or fewer than images, or beyond the rows.
            RunError: if rows are not as they were written.
        """
        rows = required(indices, images).cpu()
        if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < self.description.rows:
            raise ValueError(
                f"indices must be in 0..{self.description.rows - 1}, the store's rows, found "
                f"{int(rows.min())}..{int(rows.max())}."
            )
        size = self.description.rows_per_file
        files, places = rows // size, rows % size
        found = self._parts[0].outputs.each(lambda part: part.new_empty(len(rows), part.shape[1]))
        for number in files.unique().tolist():
            chosen = files == number
            rows_found = self._parts[number].rows(places[chosen])
            for target, part in zip(_all(found), _all(rows_found), strict=True):
                target[chosen] = part
        device = device_of(images)
        return found.each(lambda part: part.to(device, torch.float32))


def _all(outputs: TeacherOutput) -> list[Tensor]:
    logits = [] if outputs.logits is None else [outputs.logits]
    return [*outputs.features.values(), *logits]


def _named(outputs: TeacherOutput) -> str:
    widths, classes = widths_of(outputs)
    features = ", ".join(f"{width} of {layer!r}" for layer, width in widths.items())
    return f"{features[:60]} features and {classes or 'no'} logits"


class StoredRows(NamedTuple):
    """A file's ``outputs`` as they are mapped, and the ``checks`` of its rows; None in stores of
    earlier versions, which have none."""

    file: Path
    outputs: TeacherOutput
    checks: Tensor | None

    def rows(self, places: Tensor) -> TeacherOutput:
        """Return the rows at ``places`` (N,).

        Raises:
            RunError: if one is not as it was written.
        """
        found = self.outputs.each(lambda part: part[places])
        if self.checks is not None and not torch.equal(self.checks[places], _checks(_all(found))):
            raise RunError(
                f"{self.file} is damaged: rows are not as they were written; remove it, and "
                "`vkd cache` writes it again."
            )
        return found


def _checks(parts: list[Tensor]) -> Tensor:
    """The CRC-32 (N,) of each row of all parts (N, D) together."""
    rows = torch.cat([part.contiguous().view(torch.uint8) for part in parts], 1).numpy()
    return torch.tensor([zlib.crc32(row) for row in rows], dtype=torch.int64)


def open_rows(folder: Path, number: int, description: StoreDescription) -> StoredRows:
    """Return a file of a store, mapped into memory.

    Raises:
        ValueError: if it cannot be read, or does not fit the store's description.
    """
    file = file_of(folder, number)
    if not file.is_file():
        raise ValueError(f"{file} is no file; remove it, and `vkd cache` writes it again.")
    try:
        opened = _mapped(file)
    except (OSError, SafetensorError, TypeError, ValueError) as error:
        reason = str(error).rstrip(".") or type(error).__name__
        raise ValueError(f"{file} cannot be read: {reason}.") from None
    count, dtype = len(description.rows_of(number)), getattr(torch, description.dtype)
    if opened.checks is not None and opened.checks.shape != (count,):
        raise ValueError(f"{file} does not fit its store: it must have {count} checks of rows.")
    for part in _all(opened.outputs):
        if part.ndim != 2 or len(part) != count or part.dtype != dtype:
            raise ValueError(
                f"{file} does not fit its store: it must have {count} rows of {description.dtype}, "
                f"found {tuple(part.shape)} of {part.dtype}; remove it, and `vkd cache` writes it "
                "again."
            )
    return opened


def check_rows(folder: Path, number: int, description: StoreDescription) -> None:
    """Read a whole file of a store.

    Raises:
        ValueError: if it cannot be read, does not fit the store, or is not as it was written.
    """
    opened = open_rows(folder, number, description)
    try:
        opened.rows(torch.arange(len(description.rows_of(number))))
    except RunError as error:
        raise ValueError(str(error)) from None


def _mapped(file: Path) -> StoredRows:
    with safe_open(file, "pt") as tensors:
        named = (tensors.metadata() or {}).get("layers")
        layers = json.loads(named) if named else [""]
        if not (isinstance(layers, list) and layers and all(isinstance(n, str) for n in layers)):
            raise ValueError(f"its layers must be a list of names, found {str(layers)[:60]}")
        names = [_FEATURES] if len(layers) == 1 else [f"{_FEATURES}:{name}" for name in layers]
        parts = [tensors.get_tensor(name) for name in names]
        there = set(tensors.keys())
        # Files that do not name their layers always have logits.
        has_logits = named is None or _LOGITS in there
        logits = tensors.get_tensor(_LOGITS) if has_logits else None
        checks = tensors.get_tensor(_CHECKS) if _CHECKS in there else None
        return StoredRows(
            file, TeacherOutput(dict(zip(layers, parts, strict=True)), logits), checks
        )
