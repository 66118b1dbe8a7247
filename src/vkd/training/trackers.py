"""Experiment trackers, by accelerate; none is imported before a recipe names it."""

from pathlib import Path
from typing import Any

from vkd.config import TrainingConfig
from vkd.errors import FieldError, RunError, nearest, reason_of

_TENSORBOARD = "tensorboard"
_WANDB = "wandb"
_PROJECT = "vkd"


def check_trackers(names: list[str]) -> None:
    """Raise ``FieldError`` for a tracker that accelerate does not know or that is not installed."""
    if not names:
        return
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

    installed = {str(name) for name in get_available_trackers()}
    builtin = {str(name) for name in _builtin()}
    for name in names:
        if name not in LOGGER_TYPE_TO_CLASS:
            known = sorted(LOGGER_TYPE_TO_CLASS)
            raise FieldError(
                "trackers", f"has {name!r}, none of {', '.join(known)}{nearest(name, known)}"
            )
        if name in builtin and name not in installed:
            package = "'vkd[tensorboard]'" if name == _TENSORBOARD else name
            raise FieldError("trackers", f"{name} needs a package: pip install {package}.")


def _builtin() -> list[str]:
    from accelerate.utils import LoggerType

    return LoggerType.list()


class Trackers:
    """The trackers of one run; only the main process reports.

    Args:
        config: names them, and is reported as the run's settings.
        folder: the run folder, for those that write files.
        done: epochs that an earlier, resumed run has finished.
        settings: what is reported of the recipe.

    Raises:
        RunError: if a tracker cannot be started.
    """

    def __init__(
        self, config: TrainingConfig, folder: Path, done: int, settings: dict[str, Any]
    ) -> None:
        self._trackers = [_tracker(name, folder, done) for name in config.tracker_names]
        plain = (int, float, str, bool)
        values = {k: v if isinstance(v, plain) else str(v) for k, v in settings.items()}
        for tracker in self._trackers:
            _start(tracker)
            # TensorBoard would write a run of its own for the settings, which recipe.yaml holds.
            if tracker.name != _TENSORBOARD and not done:
                tracker.store_init_configuration(values)

    def log(self, values: dict[str, float], step: int) -> None:
        """Report ``values`` by name after epoch ``step``."""
        for tracker in self._trackers:
            tracker.log(values, step=step)

    def finish(self) -> None:
        """Close the trackers."""
        for tracker in self._trackers:
            tracker.finish()


def _start(tracker: Any) -> None:
    try:
        tracker.start()
    except Exception as error:  # each tracker's package raises its own
        raise RunError(
            f"The tracker {tracker.name} could not be started: {reason_of(error)}"
        ) from error


def _tracker(name: str, folder: Path, done: int) -> Any:
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    kind: Any = LOGGER_TYPE_TO_CLASS[name]
    if name == _TENSORBOARD:
        return kind(_TENSORBOARD, str(folder), purge_step=done + 1)
    if name == _WANDB:
        return kind(_PROJECT, dir=str(folder))
    return kind(_PROJECT, str(folder)) if kind.requires_logging_directory else kind(_PROJECT)
