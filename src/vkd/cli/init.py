"""``vkd init``: a recipe for a folder of pictures, a teacher and a student."""

import sys
from typing import Any

from vkd.cli.parser import Parser
from vkd.errors import FieldError
from vkd.plain_text import plain

# Fields of a recipe that a user may decide; the others are edited in the file.
_FIELDS = (
    ("dataset", str, "kind of the data; found by the files by default"),
    ("image_folder", str, "folder of the pictures, where they are not below --data-path"),
    ("image_column", str, "column of images in tables"),
    ("label_column", str, "column of labels in tables"),
    ("validation_fraction", float, "share of pictures that validates without such a split"),
    ("probe_path", str, "labelled pictures to measure an embedding with"),
    ("student_checkpoint", str, "weights for the student to start from, or hub"),
    ("student_layer", str, "its features are matched; the last by default"),
    ("teacher_layer", str, "likewise of the teacher"),
    ("input_size", int, "side of the images in pixels"),
    ("epochs", int, "passes over the training set"),
    ("batch_size", int, "images of a step; halved until a step fits by default"),
    ("device", str, "auto, cpu, cuda or mps"),
    ("workers", int, "processes that load data"),
    ("seed", int, "of weights, data order and augmentation"),
)


def init(arguments: list[str]) -> None:
    """``vkd init``"""
    parser = Parser(
        prog="vkd init",
        description="Writes a commented recipe for your pictures and your pair of networks, after "
        "checking that they fit and how long training takes. Asks at a terminal for what is "
        "missing.",
    )
    add = parser.add_argument
    add("--data_path", default="", help="folder, file or name of the pictures")
    add("--teacher", default="", help="network to learn from")
    add("--student", default="", help="network to train")
    add("--teacher_checkpoint", default="", help="its weights; those published by default")
    add("--task", default="", help="found by the files by default")
    add("--output", default="", help="new YAML file [recipe.yaml]")
    add("--measure", type=bool, default=True, help="take some steps: whether they fit, and how "
        "fast they are")  # fmt: skip
    for name, kind, text in _FIELDS:
        add(f"--{name}", type=kind | None, default=None, help=text)
    flags = parser.parse_args(arguments)
    given = {name: flags[name] for name, *_ in _FIELDS if flags[name] is not None}
    try:
        _write(flags, given)
    except KeyboardInterrupt:
        print(file=sys.stderr)
        raise SystemExit(130) from None


def _write(flags: Any, given: dict[str, Any]) -> None:
    is_asking = sys.stdin.isatty()
    if not is_asking:
        for name in ("data_path", "teacher", "student"):
            if not flags[name]:
                raise FieldError(name, "is required where there is no terminal to ask at.")
    from vkd.init.interview import interview
    from vkd.init.recipe import check_output, init_recipe

    asked = ("data_path", "task", "teacher", "teacher_checkpoint", "student", "output")
    answers = {name: flags[name] for name in asked}
    if is_asking:
        answers = interview(answers, given)
    answers["output"] = answers["output"] or "recipe.yaml"
    check_output(answers["output"])
    print("vkd: looking at data and networks ...", file=sys.stderr)
    written = init_recipe(**answers, measure=flags.measure, **given)
    for choice in written.found:
        print(plain(f"vkd: {choice.field}: {choice.value} ({choice.reason})"), file=sys.stderr)
    print(f"{written.file}: {written.summary}")
    print(written.command)
