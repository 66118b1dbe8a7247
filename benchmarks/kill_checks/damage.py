"""States that are damaged, or hold a stranger's pickles."""

import hashlib
import json
import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from kill_checks.children import Fault
from kill_checks.kills import Trials

Damage = Callable[[Path], None]


def _flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) * 2 // 3] ^= 4
    file.write_bytes(data)


def _replaced(file: Path) -> None:
    file.unlink()
    file.mkdir()


def _linked(file: Path) -> None:
    target = file.with_name("elsewhere")
    file.rename(target)
    file.symlink_to(target.name)


_KINDS: dict[str, Damage] = {
    "truncated": lambda file: os.truncate(file, file.stat().st_size // 2),
    "with a flipped bit": _flip,
    "gone": Path.unlink,
    "empty": lambda file: os.truncate(file, 0),
    "a folder": _replaced,
    "a link": _linked,
    "garbage": lambda file: file.write_bytes(bytes(range(256)) * 4),
}


def sealed(state: Path) -> None:
    """Let a state's manifest say that its files are as they should be."""
    files = [file for file in state.iterdir() if file.is_file() and file.name != "manifest.json"]
    found = {
        file.name: {
            "bytes": file.stat().st_size, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()
        }
        for file in files
    }  # fmt: skip
    (state / "manifest.json").write_text(json.dumps({"files": found}))


class Touch:
    """Makes a file when it is unpickled.

    Args:
        file: to make.
    """

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.file),)


def pickles(mark: Path) -> dict[str, Damage]:
    """Pickles in their forms, that make ``mark`` when they are opened, by a name."""
    return {
        "a plain pickle": lambda file: file.write_bytes(pickle.dumps(Touch(mark))) and None,
        "torch's zip": lambda file: torch.save({"a": [Touch(mark)]}, file),
        "torch's legacy form": lambda file: torch.save(
            Touch(mark), file, _use_new_zipfile_serialization=False
        ),
    }


def damages(names: list[str]) -> Iterator[tuple[str, Damage]]:
    """Each way to damage the newest state, by a name; the names of its files are given."""
    for name in names:
        for kind, damage in _KINDS.items():
            yield f"{name} {kind}", lambda state, f=name, d=damage: d(state / f)

    def without_folder(state: Path) -> None:
        shutil.rmtree(state)
        state.touch()

    yield "no folder but a file", without_folder

    def without_files(state: Path) -> None:
        shutil.rmtree(state)
        state.mkdir()

    yield "empty", without_files

    def emptied(state: Path) -> None:
        (state / "manifest.json").write_text('{"files": {}}')

    yield "a manifest of nothing", emptied


class Damaged:
    """Runs that were killed in their second epoch, and whose newest state is then damaged.

    Args:
        trials: of the case.
    """

    def __init__(self, trials: Trials) -> None:
        self.trials = trials
        self.broken = trials.folder / "broken"
        events = trials.whole.events[0]
        last = max(i for i, name in enumerate(events) if name.endswith("steps.jsonl"))
        trials.fresh()
        trials.child(fault=Fault(last + 1)).ended()
        shutil.rmtree(self.broken, ignore_errors=True)
        trials.run.rename(self.broken)

    @property
    def names(self) -> list[str]:
        """The files of the newest state."""
        return sorted(file.name for file in self._newest(self.broken).iterdir())

    @staticmethod
    def _newest(run: Path) -> Path:
        states = (run / "checkpoints").glob("epoch-*")
        return max(state for state in states if not state.name.endswith((".partial", ".damaged")))

    def damaged(self, damage: Damage, *, alone: bool = False, seal: bool = False) -> list[str]:
        """Damage the newest state and resume: a sentence, or the older state and a word.

        Args:
            damage: gets the state.
            alone: whether there is no older state.
            seal: whether the manifest is made to agree with the damage.
        """
        trials = self.trials
        trials.fresh()
        shutil.copytree(self.broken, trials.run, symlinks=True)
        newest = self._newest(trials.run)
        if alone:
            for state in newest.parent.iterdir():
                if state != newest:
                    shutil.rmtree(state) if state.is_dir() else state.unlink()
        damage(newest)
        if seal:
            sealed(newest)
        ended = trials.child("--resume").ended()
        if ended.code:
            return [] if ended.is_sentence else [f"{ended.code}: {ended.text[-600:]}"]
        said = newest.name in ended.text and "damaged" in ended.text
        wrong = [] if said or seal else ["it went on without a word"]
        # A manifest that agrees vouches for the state as it was made, which is kept so.
        own = f"checkpoints/{newest.name}/"
        return wrong + [lost for lost in trials.lost(ended) if not (seal and lost.startswith(own))]

    def planted(self, form: Damage, name: str, mark: Path) -> list[str]:
        """Put a stranger's pickle into a sealed newest state, and resume."""
        trials = self.trials
        trials.fresh()
        shutil.copytree(self.broken, trials.run)
        newest = self._newest(trials.run)
        form(newest / name)
        sealed(newest)
        if name in ("custom_checkpoint_0.pkl", "optimizer.bin"):
            form(trials.run / name)
        ended = trials.child("--resume").ended()
        if mark.exists():
            shutil.rmtree(mark)
            return ["its code ran"]
        if ended.code:
            return [] if ended.is_sentence else [f"{ended.code}: {ended.text[-600:]}"]
        # What is in a state beside its own files is of no harm.
        lost = [fault for fault in trials.lost(ended) if name not in fault]
        return [fault for fault in lost if "epoch-" not in fault]
