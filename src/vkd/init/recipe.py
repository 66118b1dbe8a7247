"""``vkd.init_recipe``."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vkd.config import TrainingConfig
from vkd.errors import FieldError, RunError, flag_of
from vkd.init.data import Kind, kinds_of
from vkd.init.draft import Draft, draft_of
from vkd.init.text import measured_text, recipe_text
from vkd.init.trial import TooLargeError, Trial, try_out
from vkd.models.targets import written_whole
from vkd.network_names import is_code
from vkd.notes import say
from vkd.places import check_new_file
from vkd.ranges import LARGEST_SIDE, require_range
from vkd.reporting.environment import environment
from vkd.training.drafting import Choice

# Fields that say where the data lie, and so decide what they are.
PLACES = ("dataset", "image_folder", "image_column", "label_column")


@dataclass(frozen=True)
class WrittenRecipe:
    """A recipe that was written.

    Attributes:
        file: where.
        config: its fields.
        found: choices that were found in the files or measured here.
        trial: what some steps of it took; None where none were tried.
        command: that trains by it.
    """

    file: Path
    config: TrainingConfig
    found: tuple[Choice, ...]
    trial: Trial | None
    command: str

    @property
    def summary(self) -> str:
        """What was measured, in sentences."""
        return measured_text(self.config, self.trial)


def init_recipe(
    data_path: str | Path,
    teacher: str,
    student: str,
    output: str | Path = "recipe.yaml",
    *,
    teacher_checkpoint: str | Path = "",
    task: str = "",
    measure: bool = True,
    **given: Any,
) -> WrittenRecipe:
    """Write a commented recipe that distils a teacher into a student on your pictures.

    The kind of the data, sizes and layers are found; other fields are guessed, with their sources
    in the comments. Some real training steps are taken in another process, which shows that the
    parts fit, and how much time and memory training takes on this machine. The batch size is halved
    until a step fits, unless it is given.

    Args:
        data_path: folder, file or name of the data.
        teacher: name of the network to learn from.
        student: name of the network to train.
        output: new YAML file.
        teacher_checkpoint: the teacher's weights, a file or run folder, or ``hub``; those that are
            published when empty.
        task: classification, detection or another; found by the files when empty.
        measure: take the steps. Without them nothing but names, layers and data is checked.
        **given: fields of the recipe that you have decided, for example ``epochs``.

    Raises:
        UserError: for data that cannot be read, networks that are not there or do not fit, or a
            file that is there already.
        RunError: if a step does not fit the memory of this machine.
    """
    target = check_output(str(output))
    places = {name: given[name] for name in PLACES if given.get(name)}
    kind = next(kinds_of(str(data_path), task, **places))
    return write_recipe_of(
        kind, str(data_path), teacher, str(teacher_checkpoint), student, target, measure, given
    )


def check_output(output: str) -> Path:
    """Return the file to write.

    Raises:
        FieldError: if it is there already, or no name of a recipe.
    """
    target = Path(output)
    if target.suffix not in (".yaml", ".yml"):
        raise FieldError("output", f"must end in .yaml, found {output[-150:]!r}.")
    check_new_file(target, "output")
    return target


def write_recipe_of(
    kind: Kind, data_path: str, teacher: str, teacher_checkpoint: str, student: str, target: Path,
    measure: bool, given: dict[str, Any],
) -> WrittenRecipe:  # fmt: skip
    """Write the recipe of a kind of data; see ``init_recipe``."""
    # Of these a draft is made before its config checks all fields.
    for name, most in (
        ("input_size", LARGEST_SIDE),
        ("batch_size", TrainingConfig.MOST["batch_size"]),
    ):
        require_range(name, given.get(name, 1), 1, most)
    draft = draft_of(kind, data_path, teacher, teacher_checkpoint, student, given)
    draft, trial = _tried(draft) if measure else (draft, None)
    config = draft.config
    command = _command(target, config)
    text = recipe_text(draft, trial, command, environment())
    with written_whole(target) as (file,):
        file.write_bytes(text.encode())
    found = tuple(one for one in draft.choices.values() if one.origin in ("found", "measured"))
    return WrittenRecipe(target, config, found, trial, command)


def _command(file: Path, config: TrainingConfig) -> str:
    """What trains by a recipe; files of Python run only where the user names them."""
    words = ["vkd", "train", str(file), "--output", f"runs/{file.stem}"]
    for role, name in config.model_names().items():
        words += [flag_of(role), name] if is_code(name) else []
    return shlex.join(words)


def _tried(draft: Draft) -> tuple[Draft, Trial]:
    """Take steps by the draft, and halve its batch size until they fit."""
    is_given = draft.choices["batch_size"].origin == "given"
    while True:
        size = draft.config.batch_size
        try:
            trial = try_out(draft.config)
            if trial.fits:
                return draft, trial
            text = f"a step of {size} images takes {trial.memory / 1e9:.1f} GB"
        except TooLargeError:
            text = f"a step of {size} images does not fit"
        room = "the memory of this machine"
        if is_given or size == 1:
            raise RunError(f"{text[0].upper()}{text[1:]}, which is more than {room}.")
        say("init", [f"{text} {room}, so batch_size is halved"])
        reason = f"{text} {room}, and half of them do"
        draft = draft.deciding(Choice("batch_size", size // 2, "measured", reason))
