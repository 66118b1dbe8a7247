"""What a table of bad inputs is made of, and the answer that each input must get.

A table is a list of ``Case``; a test runs each by ``check(case, folder, shared)``.
"""

import os
import shlex
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from support.commands import ENVIRONMENT, PAPER, run_here, run_release

LIMIT = 20  # seconds for an answer
LONGEST = 300  # letters of a sentence


def nothing(folder: Path) -> None:
    """Make no files."""


@dataclass(frozen=True)
class Case:
    """A bad input.

    Attributes:
        name: what is bad, in words; no other case of its table has it.
        command: as typed into a shell in the case's own folder, without ``vkd``.
        words: that the sentence has, such as the flag or file and what was found.
        code: the exit code, or several of which one is right.
        make: ``(folder) -> None`` makes the files that the command reads, before.
        needs: names of shared files and folders, to which links of these names are in the folder.
        leaves: patterns of what may be new afterwards; nothing else may, and nothing may change.
        program: ``vkd``, or a file below ``paper/``.
        is_apart: whether to run in a process of its own, as what hangs in compiled code must.
        silent: words that the sentence must not have.
    """

    name: str
    command: str
    words: tuple[str, ...] = ()
    code: int | tuple[int, ...] = 2
    make: Callable[[Path], None] = nothing
    needs: tuple[str, ...] = ()
    leaves: tuple[str, ...] = ()
    program: str = "vkd"
    is_apart: bool = False
    silent: tuple[str, ...] = ()


def check(case: Case, folder: Path, shared: Path) -> None:
    """Run a bad input and assert that it is answered by a sentence, and nothing is changed.

    Args:
        case: the bad input.
        folder: empty; the command runs in it.
        shared: the folder of what ``case.needs``.
    """
    for name in case.needs:
        (folder / name).symlink_to(shared / name)
    case.make(folder)
    before = snapshot(folder)
    done = run(case, folder)
    lines = done.stderr.strip().splitlines()
    assert lines, f"nothing is said, exit code {done.returncode}, printed: {done.stdout[-500:]}"
    sentence = lines[-1]
    assert "Traceback" not in done.stderr, done.stderr[-3000:]
    codes = case.code if isinstance(case.code, tuple) else (case.code,)
    assert done.returncode in codes, f"exit code {done.returncode}: {sentence}"
    program = "vkd" if case.program == "vkd" else Path(case.program).name
    assert sentence.startswith(f"{program}: "), sentence
    assert len(sentence) <= LONGEST, f"{len(sentence)} letters: {sentence}"
    for word in case.words:
        assert word in sentence, f"no {word!r} in: {sentence}"
    for word in case.silent:
        assert word not in sentence, f"{word!r} in: {sentence}"
    after = snapshot(folder)
    allowed = {str(p.relative_to(folder)) for pattern in case.leaves for p in folder.glob(pattern)}
    kept = {name: state for name, state in after.items() if name in before or name not in allowed}
    assert kept == before, {name for name, _ in before.items() ^ kept.items()}


def run(case: Case, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a case's command in its folder; what raises, or takes too long, fails the test."""
    words = shlex.split(case.command)
    if case.is_apart:
        start = ["-m", "vkd"] if case.program == "vkd" else [str(PAPER / case.program)]
        return subprocess.run(
            [sys.executable, *start, *words], cwd=folder, env=ENVIRONMENT, capture_output=True,
            text=True, errors="replace", timeout=LIMIT,
        )  # fmt: skip
    with within(LIMIT):
        if case.program == "vkd":
            return run_here(*words, cwd=folder)
        return run_release(script(case.program), *words, cwd=folder)


@cache
def script(program: str) -> ModuleType:
    """Return the module of a file below ``paper/``."""
    spec = spec_from_file_location(f"bad_inputs_{Path(program).parts[0]}", PAPER / program)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class TooLong(BaseException):
    """No answer within the time; no ``except Exception`` catches it."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise ``TooLong`` in the block after so many seconds."""

    def stop(*_: object) -> None:
        raise TooLong(f"no answer within {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    timer = signal.setitimer(signal.ITIMER_REAL, seconds)  # pytest's own limit uses it too
    try:
        yield
    finally:
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, *timer)


def snapshot(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Return kind, size and time of change of all that is below a folder, behind links too."""
    found = {}
    for place, folders, files in os.walk(folder, followlinks=True):
        for name in (*folders, *files):
            path = os.path.join(place, name)
            with suppress(OSError):  # of links to nowhere
                state = os.stat(path)
                # A folder that is made and removed again leaves another time.
                changed = 0 if stat.S_ISDIR(state.st_mode) else state.st_mtime_ns
                size = 0 if stat.S_ISDIR(state.st_mode) else state.st_size
                found[os.path.relpath(path, folder)] = (state.st_mode, size, changed)
    return found
