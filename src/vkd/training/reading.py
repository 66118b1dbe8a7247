"""Reading batches: whatever goes wrong there becomes one sentence, with or without workers."""

import errno
import os
import re
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar, runtime_checkable

from torch.utils.data import DataLoader

from vkd.data.workers import end_workers
from vkd.errors import RunError, UserError

Batch = TypeVar("Batch")

# How torch begins the text of an error that a worker raised, and of one about a worker.
_RAISED = "DataLoader worker process"
_LOST = ("DataLoader worker (pid", "Pin memory thread exited")
_OWN = {f"vkd.errors.{kind}": UserError for kind in ("UserError", "FieldError")}
_LONGEST = 200
# What the system takes at most to tell of the end of a process.
_SECONDS_TO_END = 5
# How C's library names a full disk, which for workers is the machine's shared memory.
_FULL = os.strerror(errno.ENOSPC)
_SHARED = ("</torch_", "shared memory", "shm_open")
# How torch tells of a worker's end.
_END = re.compile(r"\(pid (\d+)\) (?:is killed by signal: ([^.]+)|.* (exit code \d+))")
_REASONS = {
    signal.strsignal(signal.SIGKILL): ", as when memory runs out",
    signal.strsignal(signal.SIGBUS) if hasattr(signal, "SIGBUS") else "": (
        ", as when shared memory (/dev/shm) is full"
    ),
}


def read(batches: Iterable[Batch]) -> Iterator[Batch]:
    """Yield ``batches`` of a loader.

    Raises:
        UserError: as the data set raised it, in this process or in a worker.
        RunError: for any other error of the data set, and if a worker is lost.
    """
    iterator: Iterator[Batch] | None = None
    while True:
        try:
            # Here, as the workers start with the iterator.
            iterator = iter(batches) if iterator is None else iterator
            batch = next(iterator)
        except StopIteration:
            return
        except Exception as error:
            told = _told(_of_a_worker(error, batches))
            end_workers(batches)
            raise told from (None if told is error else error)
        yield batch


@runtime_checkable
class DrawsByEpoch(Protocol):
    """A data set whose items are drawn anew in each epoch, whichever process fetches them."""

    def draw(self, seed: int, epoch: int) -> None: ...


def draw(dataset: object, seed: int, epoch: int) -> None:
    """Set what the items of a data set are drawn from in an epoch; of others do nothing."""
    if isinstance(dataset, DrawsByEpoch):
        dataset.draw(seed, epoch)


@contextmanager
def watching_workers(*loaders: Iterable[Any]) -> Iterator[None]:
    """Tell a worker's death in a sentence, wherever torch's signal handler raises it.

    Args:
        *loaders: whose workers end with the context. Where an error kept them, torch would wait
            for seconds until each of them ends.
    """
    try:
        yield
    except RuntimeError as error:
        if not _is_about_a_lost_worker(error):
            raise
        raise _told(error) from error
    finally:
        for loader in loaders:
            end_workers(loader)


def _of_a_worker(error: Exception, batches: Iterable[Any]) -> Exception:
    """Return why a worker no longer answers; any other error as it is.

    Its connection breaks a moment before the system tells of its end, which torch raises from
    wherever this process then is.
    """
    is_broken = isinstance(error, (ConnectionError, EOFError)) and not _raised(error)[0]
    if is_broken and isinstance(batches, DataLoader) and batches.num_workers:
        try:
            time.sleep(_SECONDS_TO_END)
        except RuntimeError as end:
            return end
    return error


def _told(error: Exception) -> Exception:
    if _is_about_a_lost_worker(error):
        return RunError(
            f"A process that loads data ended by itself ({_end(error)}); with "
            "fewer workers memory lasts longer."
        )
    name, text = _raised(error)
    if _FULL in text and any(part in text for part in _SHARED):
        return RunError(
            "The shared memory of this machine (/dev/shm) is full, by which processes that load "
            "data hand over batches; use fewer workers, workers 0, or give it more (docker run "
            f"--shm-size): {_cut(text)[:80]}"
        )
    if name in _OWN:
        return _OWN[name](text)
    if isinstance(error, UserError):
        return type(error)(text) if name else error
    if isinstance(error, RunError):
        return RunError(text)
    kind = name.rpartition(".")[2] or type(error).__name__
    return RunError(f"The data could not be read: {kind}: {_cut(text)}")


def _end(error: Exception) -> str:
    """How a worker ended, which torch tells at once, and often wraps in that some did."""
    texts = [str(one) for one in (error, error.__cause__, error.__context__) if one is not None]
    for found in filter(None, map(_END.search, texts)):
        process, name, code = found.groups()
        end = f"killed by a signal: {name}{_REASONS.get(name, '')}" if name else code
        return f"pid {process}, {end}"
    return _cut(texts[0])


def _is_about_a_lost_worker(error: Exception) -> bool:
    return isinstance(error, RuntimeError) and str(error).startswith(_LOST)


def _raised(error: Exception) -> tuple[str, str]:
    """The name, empty in this process, and the message of what a data set raised.

    Of a worker's error torch passes on the traceback as text alone, whose last lines are both.
    """
    lines = str(error).strip().splitlines()
    if not lines or _RAISED not in lines[0]:
        return "", str(error)
    last = max((i for i, line in enumerate(lines) if line.startswith(" ")), default=0)
    name, _, text = "\n".join(lines[last + 1 :]).partition(": ")
    return name, text


def _cut(text: str) -> str:
    """The text as one line, without its middle where it is long."""
    line = " ".join(text.split())
    half = _LONGEST // 2
    return line if len(line) <= _LONGEST else f"{line[:half]} ... {line[-half:]}"
