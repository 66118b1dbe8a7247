"""The files of a store.

A store is a folder with ``store.json``, which describes it, and numbered safetensors files of so
many rows each: tensors as ``vkd.store.layout.RowLayout`` has them, and ``checks``, the CRC-32 of
each row. The files are mapped into memory, so that only rows that are used are read. A file
appears whole or not at all, so that a store can be completed.
"""

import json
import re
import zlib
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from vkd.errors import RunError
from vkd.files import write_json
from vkd.json_values import finite, shown, whole
from vkd.places import place_problem
from vkd.store.description import DESCRIPTION_FILE, StoreDescription, describe
from vkd.store.layout import CHECKS, RowLayout
from vkd.teacher import TeacherOutput
from vkd.tensor_files import save_tensors
from vkd.training.lock import is_new


def is_store(folder: Path) -> bool:
    """Return whether a folder holds a store, complete or not."""
    return (folder / DESCRIPTION_FILE).is_file()


def open_store(folder: Path, description: StoreDescription) -> None:
    """Make a store's folder, or check that the store in it is this one and can be completed.

    Raises:
        ValueError: if the folder holds another store, or something else.
    """
    if problem := place_problem(folder):
        raise ValueError(problem)
    if is_store(folder):
        # Pictures may have moved and changed their times; weights are compared when they are there.
        known = replace(description, pictures={}, teacher_weights="")
        if replace(describe(folder), pictures={}, teacher_weights="") != known:
            raise ValueError(f"{folder} holds another store; name a new folder.")
        return
    if folder.exists() and (not folder.is_dir() or not is_new(folder)):
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
    write_json(folder / DESCRIPTION_FILE, asdict(description))


def file_of(folder: Path, number: int) -> Path:
    """Return the path of one of a store's files."""
    return folder / f"rows-{number:06d}.safetensors"


def present_files(folder: Path, description: StoreDescription) -> list[int]:
    """Return the numbers of the files that are there, in order."""
    found = (re.fullmatch(r"rows-(\d{6,})\.safetensors", path.name) for path in folder.iterdir())
    numbers = sorted(int(match[1]) for match in found if match)
    return [number for number in numbers if number < description.files]


def write_rows(file: Path, outputs: TeacherOutput, dtype: str, top_k: int = 0) -> None:
    """Write the rows of one file.

    Args:
        file: see ``file_of``.
        outputs: features of one layer or more (N, D), and logits or none.
        dtype, top_k: see ``RowLayout``.

    Raises:
        ValueError: if a number is not finite in this dtype, there are no features, or ``top_k``
            does not fit the logits.
    """
    layout = RowLayout.of(outputs, dtype, top_k)
    tensors = layout.encoded(outputs)
    mass = layout.kept_mass(tensors)
    # safetensors sorts tensors by size and name; this keeps the order of the layers.
    metadata = {
        "layers": list(layout.layers),
        "classes": layout.classes,
        "kept_mass": {"mean": mass.mean().item(), "least": mass.min().item()},
    }
    tensors[CHECKS] = _checks(list(tensors.values()))
    save_tensors(tensors, file, {name: json.dumps(value) for name, value in metadata.items()})


class StoredRows(NamedTuple):
    """A file's ``tensors`` as they are mapped, with their ``layout``, and the ``checks`` of its
    rows; None in stores of earlier versions, which have none. ``kept_mass`` is the mean and the
    least probability of the classes whose logits are kept."""

    file: Path
    layout: RowLayout
    tensors: dict[str, Tensor]
    checks: Tensor | None
    kept_mass: tuple[float, float] = (1.0, 1.0)

    def rows(self, places: Tensor) -> dict[str, Tensor]:
        """Return the rows at ``places`` (N,).

        Raises:
            RunError: if one is not as it was written.
        """
        found = {name: part[places] for name, part in self.tensors.items()}
        checks = None if self.checks is None else self.checks[places]
        is_whole = checks is None or torch.equal(checks, _checks(list(found.values())))
        if not (is_whole and self.layout.has_known_classes(found)):
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
        opened = _mapped(file, description)
    except KeyError as error:
        raise ValueError(f"{file} cannot be read: it has no {error.args[0]!s:.60}.") from None
    except (IndexError, OSError, RecursionError, SafetensorError, TypeError, ValueError) as error:
        reason = str(error).rstrip(".")[:150] or type(error).__name__
        raise ValueError(f"{file} cannot be read: {reason}.") from None
    count = len(description.rows_of(number))
    if opened.checks is not None and opened.checks.shape != (count,):
        raise ValueError(f"{file} does not fit its store: it must have {count} checks of rows.")
    if not opened.layout.fits(opened.tensors, count):
        found = ", ".join(
            f"{name[:20]} {tuple(part.shape)} of {str(part.dtype).removeprefix('torch.')}"
            for name, part in list(opened.tensors.items())[:2]
        )
        raise ValueError(
            f"{file} does not fit its store: it must have {count} rows of {description.dtype}, "
            f"found {found}; remove it, and `vkd cache` writes it again."
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


def _classes_of(found: object, description: StoreDescription) -> int:
    try:
        return whole(found, description.top_k + 1)
    except ValueError as error:
        raise ValueError(f"its classes: {error}") from None


def _mapped(file: Path, description: StoreDescription) -> StoredRows:
    with safe_open(file, "pt") as tensors:
        metadata = {name: json.loads(value) for name, value in (tensors.metadata() or {}).items()}
        layers = metadata.get("layers", [""])
        are_names = isinstance(layers, list) and all(isinstance(name, str) for name in layers)
        if not (are_names and layers and len(set(layers)) == len(layers)):
            raise ValueError(f"its layers must be a list of names, found {shown(layers)}")
        classes = metadata.get("classes")
        there = set(tensors.keys())
        if classes is None and ("logits" in there or "layers" not in metadata):
            # Stores of earlier versions hold all logits, and those of the first always have some.
            classes = tensors.get_slice("logits").get_shape()[-1]
        if classes is not None:
            classes = _classes_of(classes, description)
        layout = RowLayout(tuple(layers), classes, description.dtype, description.top_k)
        parts = {name: tensors.get_tensor(name) for name in layout.dtypes}
        checks = tensors.get_tensor(CHECKS) if CHECKS in there else None
        mass = metadata.get("kept_mass", {"mean": 1.0, "least": 1.0})
        mean, least = (finite(mass[name], 0, 1.001) for name in ("mean", "least"))
        return StoredRows(file, layout, parts, checks, (mean, least))
