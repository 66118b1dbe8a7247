"""Runs checks one after another, each in a process of its own.

An assertion of a kernel leaves no CUDA in its process, and nothing stops a kernel that hangs. The
processes are forked by a server that has imported torch and has never touched the device, which
saves importing it for each.
"""

import logging
import multiprocessing
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext

import torch

from gpu_checks.catalogue import Check
from gpu_checks.context import Context, Settings
from gpu_checks.rows import Outcome, Row, failed, skipped

_LEAST_SECONDS = 5.0
_PATIENCE = 60.0
# To end in good order.
_GRACE = 4.0
_DONE = None


@dataclass
class Result:
    """What a check found.

    Attributes:
        check: which.
        rows: of the table.
        seconds: that it took.
    """

    check: Check
    rows: list[Row] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def outcome(self) -> Outcome:
        """``failed`` if a row is, ``skipped`` if all are, else ``passed`` or ``measured``."""
        found = {row.outcome for row in self.rows}
        order: tuple[Outcome, ...] = ("failed", "passed", "measured", "skipped")
        return next((outcome for outcome in order if outcome in found), "skipped")


def run(checks: list[Check], settings: Settings, seconds: float) -> list[Result]:
    """Run the checks while there is time, and say on standard output how each ends."""
    if settings.quick and not torch.cuda.is_available():
        # Triton reads it when it is first imported: kernels then run on the CPU, slowly.
        os.environ["TRITON_INTERPRET"] = "1"
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["torch", "torchvision", "timm", "accelerate"])
    end = time.monotonic() + seconds
    results = []
    for check in checks:
        began = time.monotonic()
        result = Result(check)
        left = end - began - _GRACE
        if left < _LEAST_SECONDS:
            result.rows.append(skipped("the whole check", "no time was left"))
        else:
            result.rows += _run_apart(processes, check, settings, left)
        result.seconds = time.monotonic() - began
        print(f"{check.title}: {result.outcome} in {result.seconds:.0f} s", flush=True)
        results.append(result)
    return results


def _run_apart(
    processes: ForkServerContext, check: Check, settings: Settings, left: float
) -> Iterator[Row]:
    """Yield a check's rows as they come, and one that says how it ended if it was not well."""
    seconds = min(check.seconds, left)
    # Parts begin in time; one that is long under way is waited for.
    end = time.monotonic() + min(check.seconds + _PATIENCE, left)
    ours, theirs = processes.Pipe(duplex=False)
    process = processes.Process(target=_child, args=(check, settings, seconds, theirs))
    process.start()
    theirs.close()
    try:
        while ours.poll(max(0.0, end - time.monotonic())):
            row = ours.recv()
            if row is _DONE:
                return
            yield row
        if left > check.seconds + _PATIENCE:
            what = f"hangs, or is far too slow: stopped {_PATIENCE:g} s after its {seconds:g} s"
            yield failed("what comes after the last row", what)
        else:
            yield skipped("what comes after the last row", "no time was left: stopped in its midst")
    except EOFError:
        process.join(_GRACE)
        yield failed("what comes after the last row", f"the process ended with {process.exitcode}")
    finally:
        process.join(_GRACE / 2)
        process.kill()
        process.join()
        ours.close()


def _child(check: Check, settings: Settings, seconds: float, rows: Connection) -> None:
    # Notes on made networks and data would fill the screen.
    logging.getLogger("vkd").setLevel(logging.ERROR)
    for row in _rows(check, settings, seconds):
        rows.send(row)
    rows.send(_DONE)


def _rows(check: Check, settings: Settings, seconds: float) -> Iterator[Row]:
    # Started before modules are imported, so that this counts.
    context = Context(settings, seconds)

    def every() -> Iterator[Row]:
        yield from import_module(check.module).check(context)

    yield from context.part("the whole check", every())
