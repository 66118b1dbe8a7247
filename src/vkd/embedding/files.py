"""Files of embeddings: ``.npy`` with the names beside it, or Parquet."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vkd.errors import FieldError, UserError, reason_of, shortened
from vkd.models.targets import written_whole
from vkd.places import check_new_file

SUFFIXES = (".npy", ".parquet")


def names_file(path: Path) -> Path:
    """Return where the names of the rows of an ``.npy`` file are."""
    return path.with_suffix(".names.json")


def check_target(path: Path, field: str, others: Sequence[str] = ()) -> None:
    """Raise ``FieldError`` if a new file of embeddings cannot have this name.

    Args:
        path: the file.
        field: the argument that names it.
        others: suffixes of other files that it may be, for the message.
    """
    if path.suffix not in SUFFIXES:
        *known, last = [*SUFFIXES, *others]
        raise FieldError(field, f"must end in {', '.join(known)} or {last}, found {path}.")
    for file in (path, names_file(path)) if path.suffix == ".npy" else (path,):
        check_new_file(file, field)


def write_embeddings(
    path: str | Path, batches: Iterable[tuple[list[str], Tensor]], width: int
) -> int:
    """Write embeddings as they come, in float32, and return their number.

    Args:
        path: new file. ``.npy`` holds an array (N, D), and ``.names.json`` beside it the names in
            the same order; ``.parquet`` has the columns ``image`` and ``embedding``, lists of D.
        batches: names and features (n, D).
        width: D.

    Raises:
        FieldError: for another suffix.
        UserError: if a file is there already.
        RunError: if it could not be written whole; then there is none.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise FieldError("output", f"must end in {' or '.join(SUFFIXES)}, found {path}.")
    if path.suffix == ".parquet":
        with written_whole(path) as (file,):
            return _write_parquet(file, batches, width)
    with written_whole(path, names_file(path)) as (file, beside):
        return _write_array(file, beside, batches, width)


def read_embeddings(path: str | Path) -> tuple[list[str], Tensor]:
    """Return the names and features (N, D), float32, of a file of embeddings.

    Raises:
        UserError: if it is no such file.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise UserError(f"{shortened(path, 150)} must end in {' or '.join(SUFFIXES)}.")
    for file in (path, names_file(path)) if path.suffix == ".npy" else (path,):
        if file.exists() and not file.is_file():  # a pipe would wait for ever
            raise UserError(f"{shortened(file, 200)} is no file.")
    try:
        names, rows = _read_parquet(path) if path.suffix == ".parquet" else _read_array(path)
    except ModuleNotFoundError:
        raise UserError("Parquet needs more packages: pip install 'vkd[hugging-face]'.") from None
    except FileNotFoundError as error:
        raise UserError(f"There is no file {shortened(error.filename or path, 200)}.") from None
    except (OSError, ValueError, KeyError, EOFError, RecursionError) as error:
        reason = shortened(reason_of(error), 100)
        text = f"{shortened(path, 120)} is no file of embeddings: {reason}."
        raise UserError(text) from None
    if rows.ndim != 2 or len(names) != len(rows) or not np.isfinite(rows).all():
        raise UserError(
            f"{shortened(path, 120)} must hold finite rows of features with a name for each, found "
            f"{' x '.join(map(str, rows.shape))} and {len(names)} names."
        )
    return names, torch.from_numpy(np.require(rows, np.float32, ["C", "W"]))


def _write_array(
    file: Path, beside: Path, batches: Iterable[tuple[list[str], Tensor]], width: int
) -> int:
    names: list[str] = []
    with file.open("wb") as target:
        _write_header(target, 0, width)
        for part, features in batches:
            names += part
            target.write(features.float().numpy().astype("<f4").tobytes())
        # As long as the first, since numpy pads headers for numbers of any length.
        target.seek(0)
        _write_header(target, len(names), width)
    beside.write_text(json.dumps(names, indent=0) + "\n")
    return len(names)


def _write_header(target: object, rows: int, width: int) -> None:
    described = {"descr": "<f4", "fortran_order": False, "shape": (rows, width)}
    np.lib.format.write_array_header_1_0(target, described)  # type: ignore[arg-type]


def _read_array(path: Path) -> tuple[list[str], np.ndarray]:
    # Mapped, so that a header that claims more than there is takes no memory.
    rows = np.lib.format.open_memmap(path, mode="r")
    names = json.loads(names_file(path).read_text(encoding="utf-8"))
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{names_file(path).name} is no list of names")
    if rows.dtype.kind != "f":
        raise ValueError(f"it holds {rows.dtype}")
    return names, rows


def _write_parquet(file: Path, batches: Iterable[tuple[list[str], Tensor]], width: int) -> int:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError:
        raise UserError("Parquet needs more packages: pip install 'vkd[hugging-face]'.") from None
    kind = pa.list_(pa.float32(), width)
    schema = pa.schema([("image", pa.string()), ("embedding", kind)])
    count = 0
    with pq.ParquetWriter(file, schema) as target:
        for names, features in batches:
            values = pa.array(features.float().numpy().reshape(-1))
            rows = pa.FixedSizeListArray.from_arrays(values, width)
            target.write_table(
                pa.Table.from_arrays([pa.array(names, pa.string()), rows], schema=schema)
            )
            count += len(names)
    return count


def _read_parquet(path: Path) -> tuple[list[str], np.ndarray]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, columns=["image", "embedding"])
        rows = table["embedding"].combine_chunks()
        kinds = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
        is_list = any(is_kind(rows.type) for is_kind in kinds)
        if not is_list or not pa.types.is_floating(rows.type.value_type):
            raise ValueError(f"its embedding is {rows.type}, no lists of numbers")
        names = table["image"].to_pylist()
        if not all(isinstance(name, str) for name in names):
            raise ValueError("its column image holds no names")
        width = len(rows[0]) if len(rows) else 0
        values = rows.flatten().to_numpy(zero_copy_only=False)
        return names, values.reshape(len(rows), width)
    except (pa.ArrowException, TypeError) as error:
        raise ValueError(reason_of(error)) from None
