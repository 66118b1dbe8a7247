"""Translating the flags of the paper's release to fields of a recipe; used by ``paper/``."""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints

from vkd.cli.command import report_error, report_stop, show_log
from vkd.config import LARGEST_SEED, TrainingConfig
from vkd.errors import FieldError, UserError, nearest
from vkd.ranges import require_range
from vkd.recipe import changed, config_of, read_recipe
from vkd.recipe_values import typed
from vkd.training.extra_log import ExtraLog


class _Parser(argparse.ArgumentParser):
    """argparse whose complaints are one sentence."""

    def error(self, message: str) -> Any:
        raise UserError(message + ".")


def release_bool(text: str) -> bool:
    """Read True or False as the release's commands write them.

    Raises:
        argparse.ArgumentTypeError: for anything else, all of which the release took for True.
    """
    known = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if text.lower() not in known:
        raise argparse.ArgumentTypeError(f"must be True or False, found {text}")
    return known[text.lower()]


@dataclass
class Translation:
    """The flags of one command of the release.

    Attributes:
        program: the command's file.
        description: its help.
        config: whose fields flags set.
        fields: flag of the release: field of the recipe.
        own: flags that the command itself reads, with their help.
        switches: flags without a value, with their help.
        lists: flags with any number of values, with their help.
        ignored: flags that have no effect; a warning names those that are given.
        others: field of the recipe: flag that sets it after a translation of its own.
        silent: flags that launchers set and users do not.
        spellings: other spellings of a flag.
    """

    program: str
    description: str
    config: type[TrainingConfig]
    fields: dict[str, str]
    own: dict[str, str]
    switches: dict[str, str] = field(default_factory=dict)
    lists: dict[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    others: dict[str, str] = field(default_factory=dict)
    silent: tuple[str, ...] = ("--local_rank", "--local-rank")
    spellings: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def parser(self) -> argparse.ArgumentParser:
        """Return the parser of the release's flags."""
        kinds: dict[str, Any] = {f.name: f.type for f in fields(self.config)}
        parser = _Parser(prog=self.program, description=self.description, allow_abbrev=False)
        for flag, name in self.fields.items():
            kind = kinds[name] if kinds[name] in (int, float) else str
            kind = release_bool if kinds[name] is bool else kind
            parser.add_argument(*self._names(flag), dest=name, type=kind, help=f"recipe: {name}")
        for flag, text in self.own.items():
            parser.add_argument(*self._names(flag), help=text)
        for flag, text in self.switches.items():
            parser.add_argument(flag, action="store_true", help=text)
        for flag, text in self.lists.items():
            parser.add_argument(flag, nargs="*", help=text)
        for flag in (*self.ignored, *self.silent):
            parser.add_argument(
                *self._names(flag), nargs="*", dest="ignored" + flag, help="no effect"
            )
        return parser

    def flags(self) -> set[str]:
        """Return all flags in all spellings."""
        groups = (
            self.fields, self.own, self.switches, self.lists, self.ignored, self.silent
        )  # fmt: skip
        return {name for group in groups for flag in group for name in self._names(flag)}

    def _names(self, flag: str) -> list[str]:
        return [flag, *self.spellings.get(flag, ())]

    def parse(self, arguments: list[str]) -> tuple[argparse.Namespace, dict[str, Any]]:
        """Return the flags, and the recipe's fields that they set.

        Raises:
            UserError: for a flag that the release does not have, or a wrong value.
        """
        flags, unknown = self.parser().parse_known_args(arguments)
        if unknown:
            flag = unknown[0].split("=")[0]
            known = [*self.fields, *self.own, *self.switches, *self.lists, *self.ignored]
            raise UserError(f"There is no flag {flag} of {self.program}{nearest(flag, known)}")
        for flag in self.ignored:
            if (given := getattr(flags, "ignored" + flag)) is not None:
                self._check_ignored(flag, given)
                print(f"vkd: {flag} has no effect, as in the release.", file=sys.stderr)
        names = self.fields.values()
        return flags, {name: v for name in names if (v := getattr(flags, name)) is not None}

    def _check_ignored(self, flag: str, given: list[str]) -> None:
        """Raise ``FieldError`` for a value without effect that the field of its name refuses."""
        name = flag[2:].replace("-", "_")
        kind = get_type_hints(self.config).get(name)
        if kind is None or not given:
            return
        try:
            value = typed(given[0], kind)
        except ValueError as error:
            raise FieldError(name, str(error)) from None
        if name == "seed":
            require_range(name, value, 0, LARGEST_SEED)

    @contextmanager
    def in_flags(self) -> Iterator[None]:
        """Name the release's flag where a ``FieldError`` is about a field that one sets."""
        flags = {name: flag for flag, name in self.fields.items()}
        flags |= {"output": "--output_dir"} | self.others
        try:
            yield
        except FieldError as error:
            if error.place or error.field not in flags:
                raise
            sentence = str(error).removeprefix(error.field)
            raise UserError(flags[error.field] + sentence) from error


def without_teacher_weights(values: dict[str, Any], flag: str) -> dict[str, Any]:
    """Return the fields of an evaluation, which reads no teacher; a ``flag`` in vain is named.

    Args:
        values: fields of a recipe, where ``hub`` is a default of the teacher's weights.
        flag: that sets them.
    """
    rest = dict(values)
    if rest.pop("teacher_checkpoint", "hub") != "hub":
        print(f"vkd: {flag} has no effect in an evaluation.", file=sys.stderr)
    return rest


def train_by_flags(
    flags: argparse.Namespace,
    recipe: str,
    values: dict[str, Any],
    logs_of: Callable[[Any], Sequence[ExtraLog]],
    told: tuple[str, ...] = (),
) -> None:
    """Train by a recipe changed by ``values``, into ``--output_dir`` or on in ``--resume``.

    Args:
        flags: ``resume``, ``output_dir`` and ``start_epoch`` among them.
        recipe: its name.
        values: fields of the recipe to change.
        logs_of: ``(config) -> logs`` that the run writes beside our own records.
        told: fields that no flag sets, and a checkpoint of the release to go on from does.

    Raises:
        UserError: if ``--resume`` is neither such a checkpoint nor a run folder, or
            ``--start_epoch`` does not agree with it.
    """
    from vkd.api.train import train
    from vkd.cli.commands import print_metrics
    from vkd.models.training_checkpoint import read_training_checkpoint
    from vkd.training.checkpoint import finished_epochs

    place, folder = Path(flags.resume or ""), flags.output_dir or "output/"
    resume, begun = bool(flags.resume) and not place.is_file(), None
    if resume:
        folder, recipe = flags.resume, _recipe_of_run(place, recipe)
        _check_start_epoch(flags, {finished_epochs(place) or 0})
    elif flags.resume:
        begun = read_training_checkpoint(place)
        # The release would repeat the epoch of its file; the next one is where it goes on.
        _check_start_epoch(flags, {begun.epoch, begun.finished})
        options = begun.weights.options
        values = values | {name: options[name] for name in told if name in options}
    config = config_of(changed(read_recipe(recipe), values))
    logs = logs_of(config)
    print_metrics(train(config, folder, resume=resume, begun=begun, logs=logs))


def _recipe_of_run(folder: Path, recipe: str) -> str:
    """The recipe of a run, which has the fields that no flag sets."""
    own = str(folder / "recipe.yaml")
    if not Path(own).is_file():
        raise UserError(
            f"--resume must be a checkpoint of the release or a run folder, found {folder}."
        )
    found, expected = (read_recipe(name)["task"] for name in (own, recipe))
    if found != expected:
        raise UserError(f"--resume must be a run of {expected}; {folder} is one of {found}.")
    return own


def check_start_epoch(flags: argparse.Namespace) -> None:
    """Refuse a ``--start_epoch`` above 0 unless ``--resume`` or evaluation says what it is of.

    Raises:
        UserError: for such a one, or what is no whole number.
    """
    if not (flags.start_epoch or "0").isdecimal():
        raise UserError(f"--start_epoch must be a whole number, found {flags.start_epoch}.")
    if not flags.resume:
        _check_start_epoch(flags, set())


def _check_start_epoch(flags: argparse.Namespace, known: set[int]) -> None:
    found = int(flags.start_epoch or "0")
    if found and found not in known:
        expected = " or ".join(map(str, sorted({0, *known})))
        source = "as --resume has it" if known else "without --resume"
        raise UserError(f"--start_epoch must be {expected} {source}, found {found}.")


def run_command(translation: Translation, run: Callable[[list[str]], None]) -> int:
    """Run with the process's arguments and return the exit code, as ``vkd`` does."""
    show_log(translation.program)
    try:
        with translation.in_flags():
            run(sys.argv[1:])
    except Exception as error:
        return report_error(translation.program, error)
    except KeyboardInterrupt as stop:
        return report_stop(translation.program, stop)
    return 0
