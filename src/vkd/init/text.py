"""A recipe as text: each field with what it is and why it has its value."""

import textwrap
from collections.abc import Mapping
from typing import Any

import yaml

from vkd.config import TrainingConfig, field_groups, field_texts
from vkd.init.draft import Draft
from vkd.init.trial import Trial

_WIDTH = 100
_LEGEND = (
    "Each field says what it is and why it has its value: given, found in the files, measured here "
    "or guessed."
)


def recipe_text(
    draft: Draft, trial: Trial | None, command: str, environment: Mapping[str, str]
) -> str:
    """Return the recipe as YAML with comments.

    Args:
        draft: its fields.
        trial: what some steps of it took; None where none were tried.
        command: that trains by it.
        environment: date and hardware of the machine.
    """
    config = draft.config
    texts = field_texts(type(config))
    lines = [*_head(draft, config, trial, command, environment), ""]
    lines += _field(draft, "task", texts["task"])
    for heading, names in field_groups(type(config)).items():
        chosen = [name for name in names if name in draft.choices]
        if chosen:
            lines += ["", f"# ---- {heading}"]
        for name in chosen:
            lines += ["", *_field(draft, name, texts.get(name, ""))]
    return "\n".join(lines) + "\n"


def _head(
    draft: Draft, config: TrainingConfig, trial: Trial | None, command: str,
    environment: Mapping[str, str],
) -> list[str]:  # fmt: skip
    request = draft.request
    count = len(request.classes)
    counted = f"of {count:,} classes" if count > 1 else f"({', '.join(request.classes)})"
    lines = _comment(
        f"{request.student.name} learns from {request.teacher.name}: {config.task} of "
        f"{request.pictures:,} pictures {counted}."
    )
    machine = f"on {environment['date']}, on {environment['hardware']}"
    lines += ["#", *_comment(f"Written by `vkd init` {machine}. {_LEGEND}")]
    lines += ["#", *_comment(measured_text(config, trial))]
    return [*lines, "#", "# Train by it:", f"#   {_printable(command)}"]


def measured_text(config: TrainingConfig, trial: Trial | None) -> str:
    """Return what a training will take on this machine, in sentences."""
    if trial is None:
        return "Nothing was measured: neither speed nor memory is known."
    taken = duration(trial.epochs_take(config.epochs))
    epochs = "1 epoch" if config.epochs == 1 else f"{config.epochs} epochs"
    return (
        f"Training takes about {taken} on this machine ({trial.device}): {epochs} of "
        f"{trial.updates:,} steps at {trial.images_per_second:.4g} images/s, the median of "
        f"{trial.steps} steps, of whose time reading took {trial.reading:.0%}. Evaluations and "
        f"checkpoints come on top. A step takes at most {gigabytes(trial.memory)} of "
        f"{gigabytes(trial.available)} memory."
    )


def duration(seconds: float) -> str:
    """Return a time in the two units that say enough."""
    minutes, hours, days = seconds / 60, seconds / 3600, seconds / 86400
    if days >= 2:
        return f"{days:.1f} days"
    if hours >= 1:
        return f"{int(hours)} h {int(minutes) % 60} min"
    return f"{minutes:.0f} min" if minutes >= 2 else f"{max(1, seconds):.0f} s"


def gigabytes(count: int) -> str:
    """Return bytes as GB."""
    return f"{count / 1e9:.2g} GB"


def _field(draft: Draft, name: str, meaning: str) -> list[str]:
    choice = draft.choices[name]
    reason = f"{choice.origin}: {choice.reason}" if choice.reason else choice.origin
    return [*_comment(meaning), *_comment(f"{reason}."), _entry(name, choice.value)]


def _entry(name: str, value: Any) -> str:
    return yaml.safe_dump({name: value}, width=10_000, allow_unicode=True).rstrip("\n")


def _comment(text: str) -> list[str]:
    plain = _printable(text)
    return [f"# {line}" for line in textwrap.wrap(plain, _WIDTH - 2, break_long_words=False,
                                                  break_on_hyphens=False)]  # fmt: skip


def _printable(text: str) -> str:
    """The text without what would end a comment, such as a line's end in the name of a file."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
