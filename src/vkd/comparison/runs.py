"""One run of a comparison, and its result on disk."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import Any

from accelerate.utils import set_seed
from torch import nn

from vkd.api.evaluate import evaluate
from vkd.api.train import train
from vkd.config import TrainingConfig
from vkd.errors import FieldError, RunError, UserError
from vkd.files import read_json, write_json
from vkd.json_values import as_damaged, entries, finite
from vkd.network_names import is_code
from vkd.recipe import saved_config
from vkd.recipe_values import RecipeFields
from vkd.training.records import read_metrics
from vkd.training.run_folder import recipe_difference
from vkd.training.task import Objects

_RESULT = "result.json"


@dataclass(frozen=True, kw_only=True)
class Given:
    """What is given as Python objects for every run of a comparison.

    Attributes:
        student: makes a new student for each run; a class or function.
        teacher: a network, or anything with the interface of ``vkd.teacher.Teacher``.
        data: the splits.
    """

    student: Callable[[], nn.Module] | None = None
    teacher: Any = None
    data: Any = None

    def names(self) -> dict[str, str]:
        """Return what a recipe records of them, by role."""
        types = Objects(teacher=self.teacher, data=self.data).given()
        return types | ({"student": self.student.__name__} if self.student else {})

    def new_student(self) -> nn.Module | None:
        """Return a student that no run has trained."""
        return self.student() if self.student else None


@dataclass(frozen=True, kw_only=True)
class Run:
    """A network to train.

    Attributes:
        name: of its variant, or of the teacher or extractor; runs of one name take equal time.
        config: its recipe.
        folder: the run folder.
        is_tested: whether it is evaluated on the test split.
        is_network: whether it is a teacher or extractor, and no student.
        may_fail: whether it may diverge, as candidates of tuning may.
        needs: folders of the networks that must be trained before.
        given: Python objects in place of names.
    """

    name: str
    config: TrainingConfig
    folder: Path
    is_tested: bool = False
    is_network: bool = False
    may_fail: bool = False
    needs: tuple[Path, ...] = ()
    given: Given = field(default_factory=Given)


@dataclass(frozen=True)
class Result:
    """What a run has found.

    Attributes:
        validation: metrics of the final weights on the validation split.
        test: on the test split, where it was evaluated.
        seconds: that it took.
        failure: why it failed; empty if it did not.
    """

    validation: dict[str, float] = field(default_factory=dict)
    test: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    failure: str = ""


def carry_out(run: Run) -> Result:
    """Train (or resume) a run, evaluate it, and keep the result in its folder."""
    began, before = monotonic(), _seconds_before(run.folder)
    resume = (run.folder / "recipe.yaml").is_file()
    validation, test, failure = {}, {}, ""
    try:
        validation = _train(run, resume)
    except RunError as error:
        if not run.may_fail:
            raise RunError(f"{run.name}, seed {run.config.seed}: {error}") from None
        failure = str(error)
    if run.is_tested:
        test = evaluate(str(run.folder), student=_named(run), data=run.given.data)
    result = Result(validation, test, round(before + monotonic() - began, 3), failure)
    _write(run, result)
    return result


def _named(run: Run) -> str | nn.Module | None:
    """The student that evaluation must be told, which no folder alone may name; None for others."""
    if run.given.student:
        return run.given.new_student()
    name = run.config.model_names().get("student", "")
    return name if is_code(name) else None


def _train(run: Run, resume: bool) -> dict[str, float]:
    given = run.given
    # Weights are drawn from the seed, as those of a student by name are.
    set_seed(run.config.seed)
    student = given.new_student()
    config = replace(run.config, objects={})
    return train(
        config, run.folder, resume=resume, show=False, student=student, teacher=given.teacher,
        data=given.data,
    )  # fmt: skip


def finished(run: Run) -> Result | None:
    """Return the result of a run that was carried out before; None if it was not.

    Raises:
        FieldError: if its folder has the result of another recipe.
    """
    file = run.folder / _RESULT
    if not file.is_file():
        return None
    content = read_json(file)
    with as_damaged(file):
        recipe = entries(content["recipe"], dict)
        result = Result(
            _metrics(content["validation"]),
            _metrics(content["test"]),
            finite(content["seconds"], 0),
            _failure(content["failure"]),
        )
    saved = saved_config(RecipeFields(recipe, str(file)))
    difference = recipe_difference(saved, run.config)
    if difference:
        name, before, now = difference
        raise FieldError(
            name, f"is {now!r} but {run.folder} was trained with {before!r}; name a new folder."
        )
    if run.is_tested and not result.test:
        raise UserError(f"{file} is damaged: it has no metrics on the test split.")
    return result


def _metrics(found: Any) -> dict[str, float]:
    # What diverged may be no number.
    return {
        name: value if isinstance(value, float) else finite(value)
        for name, value in entries(found, dict).items()
    }


def _failure(found: Any) -> str:
    if not isinstance(found, str):
        raise ValueError("failure is no text")
    return found


def is_finished(run: Run) -> bool:
    """Whether a run's folder has a result, of whatever recipe."""
    return (run.folder / _RESULT).is_file()


def _write(run: Run, result: Result) -> None:
    write_json(run.folder / _RESULT, {"recipe": asdict(run.config)} | asdict(result))


def _seconds_before(folder: Path) -> float:
    """Seconds that an interrupted run has spent already."""
    if not (folder / "metrics.jsonl").is_file():
        return 0.0
    return sum(record["seconds"] for record in read_metrics(folder))
