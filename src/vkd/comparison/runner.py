"""Carries out runs side by side, shows how far they are, and stops cleanly."""

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from datetime import timedelta

import torch
from rich.console import Console

from vkd.comparison.estimate import Estimate
from vkd.comparison.runs import Result, Run, carry_out, finished
from vkd.config import TrainingConfig
from vkd.errors import RunError, UserError
from vkd.methods.catalogue import METHODS, MethodEntry
from vkd.tasks import TASKS
from vkd.training.spec import TaskSpec, resolve


def default_processes(config: TrainingConfig) -> int:
    """Return one process for each core; one in all where the runs share a GPU."""
    on_gpu = torch.cuda.is_available() or torch.backends.mps.is_available()
    return 1 if on_gpu and config.device != "cpu" else os.cpu_count() or 1


class Runner:
    """Carries out runs, each once; use it as a context.

    Args:
        processes: that run side by side; with 1, runs are carried out in this process.
        show: print progress on standard error.
    """

    def __init__(self, processes: int, show: bool = True) -> None:
        self.processes = processes
        self.results: dict[str, Result] = {}
        self._estimate = Estimate()
        self._left = ""
        self._console = Console(stderr=True, quiet=not show)
        self._status = self._console.status("")
        self._stack = ExitStack()
        self._pool: ProcessPoolExecutor | None = None
        self._children = set(multiprocessing.active_children())

    def __enter__(self) -> "Runner":
        if self._console.is_terminal:
            self._stack.enter_context(self._status)
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self._stack.close()
        if self._pool is None:
            return
        if kind is not None:
            # Waiting for the runs under way could take hours; they resume from checkpoints.
            for child in set(multiprocessing.active_children()) - self._children:
                child.terminate()
        self._pool.shutdown(wait=kind is None, cancel_futures=True)

    def carry_out(self, runs: Sequence[Run], later: Sequence[Run] = ()) -> list[Result]:
        """Return the results of runs, in order; those that are finished are not repeated.

        Args:
            runs: what to carry out.
            later: what will follow, and counts in the time that is left.

        Raises:
            UserError, RunError: of the first run that fails.
        """
        todo = []
        for run in runs:
            if str(run.folder) in self.results:
                continue
            result = finished(run)
            if result is None:
                todo.append(run)
            else:
                self._take(run, result)
        if self.processes == 1:
            self._one_by_one(todo, later)
        else:
            self._side_by_side(todo, later)
        return [self.results[str(run.folder)] for run in runs]

    def _take(self, run: Run, result: Result) -> None:
        self.results[str(run.folder)] = result
        self._estimate.add(run, result.seconds)

    def _one_by_one(self, todo: list[Run], later: Sequence[Run]) -> None:
        for index, run in enumerate(todo, 1):
            self._show_left([run], [*todo[index:], *later])
            result = carry_out(run)
            self._finish(run, result, [], [*todo[index:], *later])

    def _side_by_side(self, todo: list[Run], later: Sequence[Run]) -> None:
        waiting, active = list(todo), dict[Future, Run]()
        while waiting or active:
            for run in self._startable(waiting, active.values()):
                waiting.remove(run)
                active[self._submit(run)] = run
            self._show_left([*active.values()], [*waiting, *later])
            done, _ = wait(active, timeout=1, return_when=FIRST_COMPLETED)
            for future in done:
                run = active.pop(future)
                self._finish(run, _result(future), [*active.values()], [*waiting, *later])

    def _startable(self, waiting: list[Run], active: Iterable[Run]) -> list[Run]:
        active = list(active)
        unfinished = {run.folder for run in [*waiting, *active]}
        ready = [run for run in waiting if unfinished.isdisjoint(run.needs)]
        return ready[: self.processes - len(active)]

    def _submit(self, run: Run) -> Future:
        if self._pool is None:
            self._pool = _make_pool(self.processes, run.config.task)
        with _no_interrupt():
            return self._pool.submit(carry_out, run)

    def _show_left(self, active: list[Run], waiting: list[Run]) -> None:
        seconds = self._estimate.left(active, waiting, self.processes)
        left = "no estimate yet"
        if seconds is not None:
            left = f"about {timedelta(seconds=round(seconds))} left"
        self._left = f"{len(active) + len(waiting)} runs to do, {left}"
        self._status.update(self._left)

    def _finish(self, run: Run, result: Result, active: list[Run], waiting: list[Run]) -> None:
        self._take(run, result)
        self._show_left(active, waiting)
        outcome = "failed" if result.failure else f"{result.seconds:.0f} s"
        line = f"{run.name}, seed {run.config.seed}: {outcome}"
        self._console.print(f"{line}; {self._left}", highlight=False)


def _result(future: Future) -> Result:
    try:
        return future.result()
    except BrokenProcessPool:
        raise RunError(
            "A process of the comparison died, perhaps for lack of memory (see processes); a "
            'script must call vkd.compare under `if __name__ == "__main__":`.'
        ) from None


@contextmanager
def _no_interrupt() -> Iterator[None]:
    """Processes that start here ignore Ctrl-C, after which their parent ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _make_pool(processes: int, task: str) -> ProcessPoolExecutor:
    # Forked processes would share torch's threads, which deadlocks.
    context = multiprocessing.get_context("spawn")
    threads = max(1, (os.cpu_count() or 1) // processes)
    known = (threads, task, dict(METHODS), dict(TASKS))
    try:
        pickle.dumps(known)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise UserError(
            f"A method or task from outside cannot be sent to other processes ({error}); define it "
            "in a module, or set processes to 1."
        ) from None
    return ProcessPoolExecutor(processes, context, _start, known)


def _start(
    threads: int, task: str, methods: dict[str, MethodEntry], tasks: dict[str, TaskSpec]
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    METHODS.update(methods)
    TASKS.update(tasks)
    # Imported now, so that the first run takes no longer than the others.
    resolve(TASKS[task].task)
    resolve(TASKS[task].evaluate)


def _end_with_parent() -> None:
    """End at once where the parent is killed, as nobody else would end this process.

    Its run resumes from its last checkpoint.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
