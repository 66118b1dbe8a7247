"""What a run saves to be resumed from, and how it goes on from there."""

from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from accelerate import Accelerator
from accelerate.utils import set_seed

from vkd.config import TrainingConfig
from vkd.errors import FieldError, RunError
from vkd.training.checkpoint import (
    Loaded,
    Progress,
    load_state,
    prune,
    save_state,
    states_of,
    write_rollback,
)
from vkd.training.guard import Guard
from vkd.training.means import EpochSums
from vkd.training.processes import adapted
from vkd.training.state import RunState
from vkd.training.stops import Stops
from vkd.training.task import Task


class Recovery:
    """Saves the states of a run, resumes from the newest and goes back to it.

    Args:
        task: remembers things of its own.
        state: reads and writes what is trained.
        config: the recipe.
        folder: the run folder.
        accelerator: of the processes.
        guard: knows of steps that have failed.
        stops: says when a state is due.
        steps: batches of an epoch that each process has.
    """

    def __init__(
        self,
        task: Task,
        state: RunState,
        config: TrainingConfig,
        folder: Path,
        accelerator: Accelerator,
        guard: Guard,
        stops: Stops,
        steps: int,
    ) -> None:
        self.task, self.state, self.config, self.folder = task, state, config, folder
        self.accelerator, self.guard, self.stops, self.steps = accelerator, guard, stops, steps

    def save_progress(self, progress: Progress, sums: EpochSums) -> None:
        """Save a state, in the middle of an epoch with what is summed of it.

        Raises:
            StepError: if a step has failed since the last record, which must not be saved.
        """
        self.guard.check()
        progress.task, progress.skipped = self.task.progress(), self.guard.in_a_row()
        summed = sums.state() if progress.batch else None
        kept = self.config.checkpoints_kept
        save_state(self.accelerator, self.folder, progress, self.state, sums=summed, kept=kept)
        self.stops.saved()

    def stop(self, progress: Progress, sums: EpochSums) -> NoReturn:
        """Save a state and end the run.

        Raises:
            Stopped: always.
        """
        self.save_progress(progress, sums)
        raise self.stops.stopped(progress.name)

    def save_where_due(self, progress: Progress, sums: EpochSums) -> None:
        """Save a state after an update where steps or time say so, or a signal ends the run.

        After an epoch's last update its end is near, which saves one by itself.
        """
        due = self.stops.due()
        if due.stop:
            self.stop(progress, sums)
        every = self.config.checkpoint_every_steps
        is_last = progress.batch == self.steps
        if not is_last and (due.save or (every and progress.updates % every == 0)):
            self.save_progress(progress, sums)

    def resumed(self) -> tuple[Progress, EpochSums] | None:
        """Take over the newest sound state and return where it is; None where there is none.

        Raises:
            FieldError: if it is of a later epoch than the last.
            UserError: if there are states and none is sound, or they are of other networks.
        """
        loaded = load_state(self.accelerator, self.folder, self.state)
        if loaded is None:
            return None
        if loaded.progress.epoch > self.config.epochs:
            raise FieldError(
                "epochs",
                f"is {self.config.epochs} and the checkpoint in {self.folder} is of epoch "
                f"{loaded.progress.epoch}; it is not of this run.",
            )
        if self.accelerator.is_main_process:  # a kill may have come before it
            prune(self.folder, self.config.checkpoints_kept)
        self.guard.resume(loaded.progress.skipped)
        return self._taken_over(loaded)

    def gone_back(self, fault: str, progress: Progress) -> tuple[Progress, EpochSums]:
        """Go back to the newest state, and on from there with other random numbers.

        Args:
            fault: why, as a sentence without its end.
            progress: how far the run had come.

        Raises:
            RunError: if there is no state, or the run has gone back often enough.
        """
        if not states_of(self.folder):
            raise RunError(
                f"{fault}; lower lr or set clip_grad. There was no checkpoint to go back to yet."
            )
        if progress.rollbacks == self.config.rollbacks:
            raise RunError(
                f"{fault}; lower lr or set clip_grad. The last checkpoint in "
                f"{self.folder} is untouched."
            )
        memory = self.task.progress()
        loaded = load_state(self.accelerator, self.folder, self.state)
        assert loaded is not None
        loaded.progress.rollbacks, loaded.progress.task = progress.rollbacks + 1, memory
        back, sums = self._taken_over(replace(loaded, is_diverted=True))
        if self.accelerator.is_main_process:
            write_rollback(self.folder, back)
        return back, sums

    def _taken_over(self, loaded: Loaded) -> tuple[Progress, EpochSums]:
        """Go on from a state that was loaded, with today's number of processes."""
        progress, sums = loaded.progress, EpochSums()
        self.task.resume(progress.task)
        if loaded.is_diverted:
            set_seed(self.config.seed + 1000 * progress.rollbacks, device_specific=True)
        if progress.processes != self.accelerator.num_processes:
            steps, accumulation = self.steps, self.config.accumulation
            return adapted(progress, self.folder, steps, accumulation, self.accelerator), sums
        if loaded.sums is not None:
            sums.load(loaded.sums, self.accelerator.device)
        return progress, sums
