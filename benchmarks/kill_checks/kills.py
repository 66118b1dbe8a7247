"""A training that is killed, goes on, and is compared with an unbroken one."""

import random
import shutil
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from kill_checks.cases import Case
from kill_checks.children import Child, Ended, Fault
from kill_checks.outcomes import faults_of

# What ends a process that has not begun to train, or has ended to.
_EARLY = {"SIGTERM": -15, "SIGUSR1": -10, "SIGINT": 130}
STOPPED, INTERRUPTED = 75, 130


@dataclass(frozen=True)
class Unbroken:
    """How a training goes that nothing befalls.

    Attributes:
        run: its folder.
        events: what it did to the files, of each process.
        seconds: that it took.
    """

    run: Path
    events: list[list[str]]
    seconds: float


class Trials:
    """What may befall a training; each trial returns what was lost, which is nothing if all holds.

    Args:
        case: the training.
        folder: of the case's runs, made by ``prepare``.
    """

    def __init__(self, case: Case, folder: Path) -> None:
        self.case, self.folder = case, folder

    @property
    def run(self) -> Path:
        """The run folder of a trial."""
        return self.folder / "run"

    def child(self, *more: str, fault: Fault | None = None, restarts: int = 0,
              run: Path | None = None, **changes: object) -> Child:  # fmt: skip
        """Start the training."""
        run = run or self.run
        words = self.case.train(self.folder.parent, run, *more, **changes)
        log = self.folder / f"{run.name}-{time.monotonic_ns()}.log"
        return Child(words, run, log, fault, self.case.processes, restarts)

    def resumed(self, *, free: bool = False) -> Ended:
        """Go on with the training to its end."""
        changes = self.case.free if free else {}
        return self.child("--auto-resume", **changes).ended()

    @cached_property
    def whole(self) -> Unbroken:
        """The training that nothing befalls, run once."""
        run = self.folder / "whole"
        began = time.monotonic()
        shutil.rmtree(run, ignore_errors=True)
        child = self.child(run=run)
        ended = child.ended()
        if ended.code:
            raise RuntimeError(f"The unbroken run failed with {ended.code}: {ended.text[-3000:]}")
        logs = [child.log.with_suffix(".events")]
        if self.case.processes:
            ranks = range(self.case.processes)
            logs = [child.log.with_suffix(f".{rank}.events") for rank in ranks]
        events = [log.read_text().splitlines() for log in logs]
        return Unbroken(run, events, time.monotonic() - began)

    def lost(self, ended: Ended, free: bool = False) -> list[str]:
        """What a run that has gone on to its end has lost; ``free`` says with other free fields."""
        if ended.code:
            return [f"the resumed run ended with {ended.code}: {ended.text[-600:]}"]
        return faults_of(self.run, self.whole.run, self.case.free if free else ())

    def fresh(self) -> None:
        """Remove what the trial before has left."""
        shutil.rmtree(self.run, ignore_errors=True)
        for log in self.folder.glob("run-*"):
            log.unlink()

    def killed(self, *faults: Fault, free: bool = False) -> list[str]:
        """Kill the training by each fault in turn, each time going on, and then to the end."""
        self.fresh()
        wrong = []
        for fault in faults:
            ended = self.child("--auto-resume", fault=fault).ended()
            wrong += self._wrong_end(ended, fault)
        return wrong + self.lost(self.resumed(free=free), free)

    def _wrong_end(self, ended: Ended, fault: Fault) -> list[str]:
        if "It hung." in ended.text:
            return [f"it hung after {fault}"]
        if self.case.processes:  # the agent has a code of its own
            return [] if "Traceback" not in ended.text or ended.code else [ended.text[-300:]]
        if fault.kind == "SIGKILL":
            return [] if ended.code in (0, -9) else [f"killed, but ended with {ended.code}"]
        return self._wrong_stop(ended.code, fault.kind, ended.text)

    def _wrong_stop(self, code: int, kind: str, text: str) -> list[str]:
        if "Traceback" in text:
            return [f"a traceback after {kind}: {text[-600:]}"]
        if code in (0, STOPPED):
            return []
        # Outside of training the signals do what they do to any program.
        metrics, steps = self.run / "metrics.jsonl", self.run / "steps.jsonl"
        ends = metrics.exists() and len(metrics.read_text().splitlines()) == 2
        if code == _EARLY[kind] and (ends or not steps.exists()):
            return []
        return [f"{kind} ended it with {code}, not {STOPPED}: {text[-300:]}"]

    def struck(self, kind: str, seed: int, everyone: bool) -> list[str]:
        """Send a signal from outside at a random instant of the training."""
        self.fresh()
        draw = random.Random(seed)
        child = self.child("--auto-resume")
        if draw.random() < 0.8:  # mostly once it trains
            child.wait_for(self.run / "steps.jsonl")
            time.sleep(draw.uniform(0, 0.6 * self.whole.seconds))
        else:
            time.sleep(draw.uniform(0, self.whole.seconds))
        child.send(kind, everyone)
        ended = child.ended()
        # The agent's own processes end after it.
        if self.case.processes:
            child.send("SIGKILL", everyone=True)
            wrong = []
        else:
            wrong = self._wrong_end(ended, Fault(kind=kind))
        return wrong + self.lost(self.resumed())

    def interrupted_twice(self, seed: int) -> list[str]:
        """Press Ctrl-C twice."""
        self.fresh()
        draw = random.Random(seed)
        child = self.child()
        child.wait_for(self.run / "steps.jsonl")
        time.sleep(draw.uniform(0, 0.2))
        child.send("SIGINT")
        time.sleep(draw.uniform(0.001, 0.01))
        child.send("SIGINT")
        ended = child.ended()
        right = ended.code in (0, STOPPED, INTERRUPTED) and "Traceback" not in ended.text
        wrong = [] if right else [f"Ctrl-C twice ended it with {ended.code}: {ended.text[-600:]}"]
        return wrong + self.lost(self.resumed())

    def restarted(self, fault: Fault) -> list[str]:
        """Let torchrun's agent start the processes again after one was killed."""
        self.fresh()
        return self.lost(self.child(fault=fault, restarts=1).ended())

    def resumed_twice(self, event: int) -> list[str]:
        """Go on with a run that another process goes on with, too."""
        self.fresh()
        first = self.child("--auto-resume", fault=Fault(event, "pause"))
        if not first.wait_for(self.run / "steps.jsonl"):
            return ["the first never trained"]
        time.sleep(1)
        second = self.child("--resume").ended()
        first.send("SIGCONT")
        refused = second.code == 2 and second.is_sentence
        wrong = [] if refused else [f"the second ended with {second.code}: {second.text[-300:]}"]
        return wrong + self.lost(first.ended())

    def filled(self, fault: Fault) -> list[str]:
        """Let the disk be full for a while."""
        self.fresh()
        ended = self.child("--auto-resume", fault=fault).ended()
        right = ended.code == 0 or ended.is_sentence
        wrong = [] if right else [f"a full disk: {ended.code}, {ended.text[-600:]}"]
        return wrong + self.lost(self.resumed())
