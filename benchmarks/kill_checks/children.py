"""``vkd`` in processes that are made of this one in no time, and may be killed."""

import errno
import multiprocessing
import os
import resource
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kill_checks.events import watch

_FORK = multiprocessing.get_context("fork")
_LONGEST = 240.0


@dataclass(frozen=True)
class Fault:
    """What befalls a process by itself.

    Attributes:
        event: the number of the file event before which it happens; 0 for none.
        kind: a signal's name; full for a disk that is full from then on; pause for a stop that
            ends when the process is told to go on.
        largest: bytes that a file may have; 0 for any.
        rank: of the process that it befalls.
    """

    event: int = 0
    kind: str = "SIGKILL"
    largest: int = 0
    rank: int = 0

    def act(self, number: int, name: str) -> None:
        """Happen, if the event has come."""
        if not self.event or number < self.event:
            return
        if self.kind == "full":
            if not name.startswith(("os.remove", "os.rmdir", "shutil.rmtree")):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        elif number == self.event:
            kind = signal.SIGSTOP if self.kind == "pause" else signal.Signals[self.kind]
            os.kill(os.getpid(), kind)


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Attributes:
        code: its exit code; below zero the signal that ended it.
        text: what it printed on standard error.
    """

    code: int
    text: str

    @property
    def is_sentence(self) -> bool:
        """Whether it failed with one sentence, as for a user's mistake or a failure."""
        lines = [line for line in self.text.splitlines() if line.strip()]
        is_short = bool(lines) and lines[-1].startswith("vkd: ") and len(lines[-1]) <= 320
        return self.code in (1, 2) and is_short and "Traceback" not in self.text


class Child:
    """A running ``vkd``.

    Args:
        arguments: of the command.
        run: the folder whose file events are counted.
        log: file for what it prints; the events go beside it, in ``.events``.
        fault: what befalls it.
        processes: how many torchrun's agent starts; 0 for one without it.
        restarts: times that the agent starts them again.
    """

    def __init__(
        self,
        arguments: list[str],
        run: Path,
        log: Path,
        fault: Fault | None = None,
        processes: int = 0,
        restarts: int = 0,
    ) -> None:
        self.log = log
        target, given = (_together, (processes, restarts)) if processes else (_alone, ())
        words = (arguments, run, log, fault or Fault(), *given)
        self.process = _FORK.Process(target=target, args=words)
        self.process.start()
        self.pid = self.process.pid or 0

    def ended(self) -> Ended:
        """Wait for the end; what takes too long is killed, with code -9 and a word."""
        self.process.join(_LONGEST)
        late = self.process.is_alive()
        if late:
            self.send("SIGKILL", everyone=True)
            self.process.join()
        text = self.log.read_text(errors="replace") + ("\nIt hung.\n" if late else "")
        return Ended(self.process.exitcode or 0, text)

    def send(self, kind: str, everyone: bool = False) -> None:
        """Send a signal to the process, or to its own and all that it has started."""
        number = signal.Signals[kind]
        try:
            os.killpg(self.pid, number) if everyone else os.kill(self.pid, number)
        except ProcessLookupError:
            return

    def wait_for(self, file: Path, seconds: float = 60.0) -> bool:
        """Wait until a file has something in it; return whether it was before the end."""
        end = time.monotonic() + seconds
        while self.process.is_alive() and time.monotonic() < end:
            if file.exists() and file.stat().st_size:
                return True
            time.sleep(0.005)
        return file.exists() and self.process.is_alive()


def _begin(log: Path) -> None:
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(
            number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        )
    opened = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(opened, 1)
    os.dup2(opened, 2)


def _alone(arguments: list[str], run: Path, log: Path, fault: Fault) -> None:
    _begin(log)
    sys.exit(_command(arguments, run, log, fault))


def _command(arguments: list[str], run: Path, log: Path, fault: Fault) -> int:
    from vkd.cli import main

    if fault.largest:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (fault.largest, resource.RLIM_INFINITY))
    with log.with_suffix(".events").open("w", buffering=1) as events:

        def act(number: int, name: str) -> None:
            fault.act(number, name)
            if not fault.largest:
                events.write(f"{name}\n")

        watch(run, act)
        code = main(arguments)
        sys.stderr.flush()
    return code


def _together(
    arguments: list[str], run: Path, log: Path, fault: Fault, processes: int, restarts: int
) -> None:
    """Do what torchrun does; it, too, hands over to this launcher."""
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    _begin(log)
    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=processes, max_restarts=restarts,
        rdzv_backend="c10d", rdzv_endpoint="localhost:0", run_id=str(os.getpid()),
        monitor_interval=0.1, start_method="fork",
    )  # fmt: skip
    launch: Any = elastic_launch(config, _member)
    try:
        launch(arguments, run, log, fault)
    except ChildFailedError as error:
        code = next(iter(error.failures.values())).exitcode
        sys.exit(code if code > 0 else 1)


def _member(arguments: list[str], run: Path, log: Path, fault: Fault) -> None:
    rank, again = int(os.environ["RANK"]), os.environ["TORCHELASTIC_RESTART_COUNT"] != "0"
    own = log.with_suffix(f".{rank}.log")
    code = _command(arguments, run, own, Fault() if again or rank != fault.rank else fault)
    if code:
        sys.exit(code)
