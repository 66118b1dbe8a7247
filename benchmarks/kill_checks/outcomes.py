"""What a resumed run left, compared with what an unbroken one did."""

import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from safetensors import safe_open

# Of records: how long something took, and how much memory.
_TIMES = {"seconds", "images_per_second", "waiting", "memory_gb"}
_LOCK = ".lock"
# Of cards: the day.
_CARD, _DAY = "README.md", re.compile(r"\b\d{4}-\d{2}-\d{2}\b")


def faults_of(run: Path, whole: Path, free: Collection[str] = ()) -> list[str]:
    """What of a run folder is not as an unbroken run's; records are compared but for times,
    and cards but for the day.

    A signal saves a state where no other run has one, and so an older one goes sooner: of these
    the number counts, and the contents of those that both have. Where a run went on with other
    values of ``free`` fields, its weights and its card name these.
    """
    found, known = _files(run), _files(whole)
    differing = [
        f"{name} {fault}"
        for name in sorted(found & known)
        if not (free and name == _CARD) and (fault := _fault(run / name, whole / name, free))
    ]
    states, last = _states(run), _states(whole)[-1]
    older = tuple(f"checkpoints/{state}" for state in {*states, *_states(whole)} - {last})
    missing = [name for name in sorted(known - found) if not name.startswith(older or "/")]
    left = [name for name in sorted(found - known) if not name.startswith(older or "/")]
    left += [name for name in sorted(found) if name.endswith(".partial") and name not in left]
    if len(states) != len(_states(whole)):
        differing.append(f"{len(states)} states are kept, not {len(_states(whole))}")
    return [
        *(f"{name} is missing" for name in missing), *(f"{name} is left over" for name in left),
        *differing,
    ]  # fmt: skip


def _states(run: Path) -> list[str]:
    names = [path.name for path in (run / "checkpoints").glob("epoch-*")]
    return sorted(name for name in names if not name.endswith((".partial", ".damaged")))


def _files(run: Path) -> set[str]:
    return {
        str(path.relative_to(run))
        for path in run.rglob("*")
        if path.name != _LOCK and not path.name.startswith(_LOCK + ".")
    }


def _fault(found: Path, known: Path, free: Collection[str]) -> str:
    if _content(found) == _content(known):
        return ""
    is_tensors = found.suffix == ".safetensors" and found.is_file()
    if is_tensors and _tensors(found, free) == _tensors(known, free):
        return "" if free else "has the same contents in other bytes"
    return "differs"


def _tensors(file: Path, free: Collection[str]) -> tuple[Any, dict[str, tuple[str, bytes]]]:
    with safe_open(file, "numpy") as opened:
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        found = {name: (f"{t.dtype}{t.shape}", t.tobytes()) for name, t in tensors.items()}
        metadata: dict[str, Any] = dict(opened.metadata() or {})
    recipe = json.loads(metadata.get("recipe", "{}"))
    metadata["recipe"] = {name: value for name, value in recipe.items() if name not in free}
    return metadata, found


def _content(path: Path) -> Any:
    if path.is_dir():
        return "a folder"
    if path.suffix == ".jsonl":
        return [_without_times(json.loads(line)) for line in path.read_text().splitlines()]
    if path.name == "precision.json":
        return sorted(json.loads(path.read_text()))
    if path.name == _CARD:
        return _DAY.sub("", path.read_text())
    return path.read_bytes()


def _without_times(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in _TIMES}
