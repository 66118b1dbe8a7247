"""``vkd replay``: a training step that has failed, taken again."""

import json
from typing import TYPE_CHECKING

from vkd.cli.parser import Parser
from vkd.errors import FieldError

if TYPE_CHECKING:
    from vkd.training.replay import Replayed

_MOST = 5


def replay(arguments: list[str]) -> None:
    """``vkd replay RUN``"""
    parser = Parser(
        prog="vkd replay",
        description="A training step whose loss or gradient was no finite number, taken again with "
        "the batch, weights and random numbers that the run folder keeps, and a check of every "
        "layer. Without these, training goes on from the last checkpoint to the step.",
    )
    add = parser.add_argument
    add("run", metavar="RUN", help="run folder")
    add("--update", type=int, default=0, help="of the failure; the last one's by default")
    add("--process", type=int, default=-1, help="of several; the first that failed by default")
    add("--device", default="", help="auto, cpu, cuda or mps; the recipe's by default")
    add("--data_path", default="", help="folder of the data; the recipe's by default")
    add("--teacher_checkpoint", default="", help="the teacher's weights; the recipe's by default")
    add("--student", default="", help="its network, where that is FILE.py:FUNCTION")
    add("--teacher", default="", help="likewise")
    add("--json", action="store_true", help="print JSON")
    flags = parser.parse_args(arguments)
    if flags.process < -1:
        raise FieldError("process", f"must be at least 0, found {flags.process}.")
    if flags["update"] < 0:
        raise FieldError("update", f"must be at least 1, found {flags['update']}.")
    from vkd.api.replay import replay as take_again

    names = ("data_path", "teacher_checkpoint", "student", "teacher")
    found = take_again(
        flags.run,
        update=flags["update"] or None,
        process=flags.process if flags.process >= 0 else None,
        device=flags.device,
        **{name: flags[name] for name in names if flags[name]},
    )
    if flags.json:
        print(json.dumps(found.as_dict(), indent=1))
    else:
        _print(found)


def _print(found: "Replayed") -> None:
    from rich.console import Console
    from rich.table import Table

    from vkd.training.failures import pictures_of

    console = Console(highlight=False, soft_wrap=True)
    of = f" of {pictures_of(found.pictures)}" if found.pictures else ""
    console.print(f"{found.folder}: epoch {found.epoch}, update {found.update}{of}", markup=False)
    table = Table("", "recorded", "replayed")
    for name, (before, now) in found.terms.items():
        table.add_row(f"loss term {name}", _short(before), _short(now))
    table.add_row("norm of the gradient", *map(_short, found.gradient_norm))
    for name, norm in found.gradient_norms.items():
        table.add_row(f"  of {name}", "", _short(norm))
    console.print(table)
    for line in _lines(found):
        console.print(line, markup=False)


def _lines(found: "Replayed") -> list[str]:
    from vkd.training.failures import is_finite

    none = "none"
    lines = [
        f"first layer whose output is not finite: {found.output or none}",
        f"first layer, on the way back, whose gradient is not finite: {found.gradient or none}",
    ]
    if not found.parameters and not is_finite(found.gradient_norm[1]):
        lines.append("all gradients are finite, and too large for their norm in float32")
    if found.operation:
        lines.append(f"first operation whose gradient is nan: {found.operation}")
    if found.parameters:
        shown, more = found.parameters[:_MOST], len(found.parameters) - _MOST
        others = f" and {more} more" if more > 0 else ""
        lines.append(f"parameters whose gradients are not finite: {', '.join(shown)}{others}")
    return [*lines, f"reproduced: {'yes' if found.is_reproduced else 'no'}"]


def _short(number: str) -> str:
    return f"{float(number):.6g}" if number else "–"
