"""The commands: each parses its flags and calls what does the work.

Whatever imports torch is imported only after the flags were found right.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vkd.cli.flags import (
    add_option_flags,
    add_recipe_flags,
    given_fields,
    given_options,
    option_names,
)
from vkd.cli.parser import Parser
from vkd.config import TrainingConfig
from vkd.errors import FieldError, RunError, UserError
from vkd.methods.catalogue import METHODS, NO_METHOD
from vkd.network_names import FORMS
from vkd.plain_text import plain
from vkd.recipe import changed, config_of, read_recipe, recipe_names, recipe_summary
from vkd.store.description import DTYPES, StoreOptions
from vkd.tasks import TASKS

# Fields of where a recipe reads its data, that commands without all fields may change.
_SOURCE_FIELDS = (
    ("dataset", str, "kind of the data, such as folder, table, coco, yolo or voc"),
    ("image_folder", str, "folder of the pictures, where they are not below --data-path"),
    ("image_column", str, "column of images in tables"),
    ("label_column", str, "column of labels in tables"),
    ("max_corrupt", int, "unreadable images of a split to skip"),
)
_EVALUATION_FIELDS = (
    ("data_path", str, "folder of the data"),
    *_SOURCE_FIELDS,
    ("device", str, "auto, cpu, cuda or mps"),
    ("workers", int, "processes that load data"),
    ("batch_size", int, "images per process and step"),
)
_DESCRIPTION_FIELDS = (
    *_SOURCE_FIELDS,
    ("validation_fraction", float, "share of training images that validates without such a split"),
)


def demo(arguments: list[str]) -> None:
    """``vkd demo``"""
    parser = Parser(prog="vkd demo", description="Distil digits, by each method.")
    parser.add_argument(
        "what", nargs="?", metavar="WHAT", default="classification",
        help="classification, or embedding: features without labels",
    )  # fmt: skip
    parser.add_argument("--output", default="demo", help="new folder for results and report")
    parser.add_argument("--full", action="store_true", help="5 seeds and the grid: some minutes")
    parser.add_argument("--seeds", type=int | None, help="students of each method; 3, or 5 in full")
    parser.add_argument("--epochs", type=int, default=0, help="0 for the recipes' own")
    parser.add_argument("--grid", type=bool | None, help="projection x normalisation too")
    parser.add_argument("--open", action="store_true", help="open the report in the browser")
    flags = parser.parse_args(arguments)
    seeds = flags.seeds if flags.seeds is not None else 5 if flags.full else 3
    if flags.what == "embedding":
        if flags.grid:
            raise FieldError("grid", "has no meaning for the embedding.")
        from vkd.demo.embedding import run_embedding_demo

        run_embedding_demo(Path(flags.output), seeds, flags.epochs)
    elif flags.what == "classification":
        from vkd.demo.run import run_demo

        grid = flags.grid if flags.grid is not None else flags.full
        run_demo(Path(flags.output), seeds, flags.epochs, grid)
    else:
        raise UserError(f"WHAT must be classification or embedding, found {flags.what[:80]}.")
    if flags.open:
        from vkd.reporting.browser import open_in_browser

        open_in_browser(Path(flags.output) / "report.html")


def train(arguments: list[str]) -> None:
    """``vkd train RECIPE``"""

    def add_flags(parser: Parser, recipe: str) -> None:
        parser.add_argument("--output", default=f"runs/{recipe}", help="run folder")
        add = parser.add_argument
        add("--resume", action="store_true", help="resume the run in --output")
        add("--auto_resume", action="store_true", help="resume if a run is there, else begin")

    with _recipe("train", arguments, add_flags, "[--output FOLDER] [--resume]") as (config, flags):
        from vkd.api.train import end_processes, train

        metrics = train(config, flags.output, resume=flags.resume, auto_resume=flags.auto_resume)
        print_metrics(metrics | {"run": flags.output})
        end_processes()


def compare(arguments: list[str]) -> None:
    """``vkd compare RECIPE --methods A,B``"""

    def add_flags(parser: Parser, recipe: str) -> None:
        add = parser.add_argument
        add("--methods", type=str, default="", help="names with commas between; none: alone")
        add("--seeds", type=int, default=3, help="runs of each method")
        add("--reference", type=str, default="", help="for differences; the first by default")
        add("--tune", action="store_true", help="choose weights on the validation split first")
        add("--tune_epochs", type=int, default=0, help="of a trial; 0 for the recipe's")
        add("--tune_seeds", type=int, default=1, help="runs of each trial")
        add("--processes", type=int, default=0, help="runs side by side; 0: one on each core")
        add("--output", default=f"comparisons/{recipe}", help="folder; continues what is in it")

    usage = "--methods A,B [--seeds N] [--tune] [--output FOLDER]"
    with _recipe("compare", arguments, add_flags, usage, {"trackers": ""}) as (config, flags):
        _compare(config, flags)


def _compare(config: TrainingConfig, flags: Any) -> None:
    methods = [name.strip() for name in flags.methods.split(",") if name.strip()]
    if not methods:
        raise FieldError("methods", f"is required: names of {', '.join([*METHODS, NO_METHOD])}.")
    if not flags.tune and (flags.tune_epochs or flags.tune_seeds != 1):
        raise FieldError("tune", "must be given for --tune-epochs and --tune-seeds.")
    from rich.console import Console

    from vkd.comparison.compare import compare
    from vkd.comparison.tables import tables
    from vkd.comparison.tuning import Tuning

    tuning = Tuning(seeds=flags.tune_seeds, epochs=flags.tune_epochs) if flags.tune else False
    results = compare(
        config, methods, flags.output, seeds=flags.seeds, reference=flags.reference,
        tuning=tuning, processes=flags.processes, trackers=config.trackers,
    )  # fmt: skip
    console = Console()
    for table in tables(results):
        console.print(table)
    print(f"report: {flags.output}/report.html")


def check(arguments: list[str]) -> None:
    """``vkd check --data-path D``"""
    parser = Parser(
        prog="vkd check", description="What a data set holds, as training would read it."
    )
    add = parser.add_argument
    add("--data_path", default="", help="folder, file or name of the data; the recipe's if absent")
    add("--recipe", default="", help="name or file; the kind is found by the files without one")
    _add_fields(parser, _DESCRIPTION_FIELDS)
    add("--output", default="", help="new HTML page of sample pictures as a network sees them")
    add("--samples", type=int, default=12, help="pictures of each split on the page")
    add("--json", action="store_true", help="print JSON")
    flags = parser.parse_args(arguments)
    from vkd.api.check import check as check_data

    changes = given_options(flags, [name for name, *_ in _DESCRIPTION_FIELDS])
    try:
        found = check_data(flags.data_path, flags.recipe, flags.output, flags.samples, **changes)
    except UserError as error:
        if flags.json:
            print(json.dumps({"refused": error.for_command_line()}))
        raise
    if flags.json:
        print(json.dumps(found.as_dict(), indent=2))
    else:
        print_description(found)
    if flags.output:
        print(f"page: {flags.output}", file=sys.stderr)


def print_description(found: Any) -> None:
    """Print a ``DataDescription``."""
    print(f"dataset: {found.dataset}")
    for name, split in found.splits.items():
        print(plain(f"{name}: {split.pictures:,} pictures, {split.source}"))
        if "smallest" in split.sizes:
            (low, lower), (high, higher) = split.sizes["smallest"], split.sizes["largest"]
            print(f"  sizes: {low} x {lower} to {high} x {higher} ({split.sizes['looked_at']:,} "
                  f"looked at, {split.sizes['unreadable']:,} cannot be read)")  # fmt: skip
        counts = sorted(split.counts.items(), key=lambda item: -item[1])
        shown = ", ".join(f"{key} {count:,}" for key, count in counts[:20])
        more = f", and {len(counts) - 20:,} more" if len(counts) > 20 else ""
        print(plain(f"  {found.counted}: {shown}{more}"))
    for note in found.notes:
        print(plain(f"note: {note}"))


def cache(arguments: list[str]) -> None:
    """``vkd cache RECIPE``"""

    def add_flags(parser: Parser, recipe: str) -> None:
        parser.add_argument("--output", default=f"stores/{recipe}", help="folder of the store")
        parser.add_argument("--views", type=int, default=0, help="augmented views of each image")
        parser.add_argument(
            "--dtype", choices=DTYPES, default="float16",
            help="of the features; int8 has a scale for each row, and float16 for logits",
        )  # fmt: skip
        parser.add_argument(
            "--top_k", type=int, default=0, help="logits to keep of each row; 0 for all"
        )

    usage = "[--output STORE] [--views N] [--dtype DTYPE] [--top-k K]"
    with _recipe("cache", arguments, add_flags, usage) as (config, flags):
        options = StoreOptions(views=flags.views, dtype=flags.dtype, top_k=flags.top_k)
        from vkd.api.cache import cache
        from vkd.api.train import end_processes

        sizes = cache(config, flags.output, **asdict(options))
        print_metrics(sizes | {"store": flags.output})
        end_processes()


@contextmanager
def _recipe(
    command: str,
    arguments: list[str],
    add_flags: Callable[[Parser, str], None],
    usage: str,
    defaults: dict[str, Any] | None = None,
) -> Iterator[tuple[TrainingConfig, Any]]:
    """The recipe that ``arguments`` name first, changed by ``defaults`` and by the flags that
    follow, and all flags; ``add_flags`` adds the command's own.

    What is wrong with a field that stands in the recipe's file names its line."""
    recipe, *rest = arguments or ["--help"]
    if recipe in ("-h", "--help"):
        print(f"usage: vkd {command} RECIPE {usage} [--FIELD VALUE ...]\n\n"
              f"Recipes: {', '.join(recipe_names())}, or a YAML file.\n"
              f"`vkd {command} RECIPE --help` explains its fields.")  # fmt: skip
        raise SystemExit(0)
    if recipe.startswith("-"):
        raise UserError(f"vkd {command} takes the recipe first, found {recipe}.")
    values = read_recipe(recipe) | (defaults or {})
    parser = Parser(
        prog=f"vkd {command} {recipe}", usage=f"vkd {command} {recipe} {usage} [--FIELD VALUE ...]"
    )
    add_flags(parser, Path(recipe).stem)
    kind = TASKS[values["task"]].config
    add_recipe_flags(parser, kind, values)
    flags = parser.parse_args(rest)
    fields = changed(values, given_fields(rest, flags, kind))
    with fields.in_place():
        yield config_of(fields), flags


def eval(arguments: list[str]) -> None:
    """``vkd eval --checkpoint FILE_OR_RUN``"""
    kinds = {name: spec.evaluate_options for name, spec in TASKS.items()}
    parser = Parser(prog="vkd eval", description="Metrics of a checkpoint on the test split.")
    _add_checkpoint_flags(parser)
    _add_fields(parser, _EVALUATION_FIELDS)
    add_option_flags(parser, kinds)
    flags = parser.parse_args(arguments)
    from vkd.api.evaluate import evaluate
    from vkd.api.train import end_processes

    names = [name for name, *_ in _EVALUATION_FIELDS]
    chosen = given_options(flags, (*names, *option_names(kinds), "student"))
    print_metrics(evaluate(flags.checkpoint, flags.recipe, **chosen))
    end_processes()


def predict(arguments: list[str]) -> None:
    """``vkd predict --checkpoint FILE_OR_RUN IMAGE ...``"""
    kinds = {name: spec.predict_options for name, spec in TASKS.items()}
    parser = Parser(
        prog="vkd predict", description="One line of JSON for each image, given or generated."
    )
    parser.add_argument(
        "images", nargs="*", metavar="IMAGE", help="image files, folders or patterns in quotes"
    )
    _add_checkpoint_flags(parser)
    add_option_flags(parser, kinds)
    flags = parser.parse_args(arguments)
    from vkd.api.predict import each_prediction

    options = given_options(flags, (*option_names(kinds), "student"))
    good = bad = 0
    for record in each_prediction(flags.checkpoint, flags.images, flags.recipe, **options):
        if "error" in record:
            bad += 1
            print(plain(f"vkd: {record['error']}"), file=sys.stderr)
        else:
            good += 1
            print(json.dumps(record), flush=True)
    if bad:
        raise RunError(f"{bad} of {good + bad} images could not be read.")


def export(arguments: list[str]) -> None:
    """``vkd export --checkpoint FILE_OR_RUN OUT``"""
    parser = Parser(prog="vkd export", description="A checkpoint as ONNX (.onnx) or by "
                    "torch.export (.pt2); inputs and outputs are printed.")  # fmt: skip
    parser.add_argument("target", metavar="OUT", help="new .onnx or .pt2 file")
    _add_checkpoint_flags(parser)
    parser.add_argument("--height", type=int, default=0, help="of images; 0 for the recipe's")
    parser.add_argument("--width", type=int, default=0, help="of images; 0 for the recipe's")
    add = parser.add_argument
    add("--data_path", default="", help="folder of the recipe's data, where it is another now")
    add("--pictures", default="", help="folder of pictures to check the file on; of the recipe's "
        "data by default, and made inputs where these are not at hand")  # fmt: skip
    add("--int8", action="store_true", help="weights and activations in 8 bits (.onnx)")
    add("--calibration", default="", help="folder of pictures that show the ranges of 8 bits; the "
        "recipe's training pictures by default")  # fmt: skip
    add("--calibration_count", type=int, default=128, help="most pictures to calibrate with")
    add("--evaluate", type=bool, default=True, help="metric on the test split, in float and 8 bits")
    flags = parser.parse_args(arguments)
    if not flags.target.endswith((".onnx", ".pt2")):
        raise UserError(f"OUT must end in .onnx or .pt2, found {flags.target}.")
    from vkd.api.export import export

    size = (flags.height, flags.width)
    for line in export(
        flags.checkpoint, flags.target, flags.recipe, size, student=flags.student,
        data_path=flags.data_path, pictures=flags.pictures, int8=flags.int8,
        calibration=flags.calibration, calibration_count=flags.calibration_count,
        evaluate=flags.evaluate,
    ):  # fmt: skip
        print(plain(line))


def convert(arguments: list[str]) -> None:
    """``vkd convert IN OUT``"""
    parser = Parser(prog="vkd convert", description="A published checkpoint to safetensors.")
    parser.add_argument("source", metavar="IN", help="the paper's .pth, or any of PyTorch's")
    parser.add_argument("target", metavar="OUT", help="new .safetensors file")
    flags = parser.parse_args(arguments)
    if not flags.target.endswith(".safetensors"):
        raise UserError(f"OUT must end in .safetensors, found {flags.target}.")
    from vkd.api.convert import convert as convert_checkpoint

    for file in convert_checkpoint(flags.source, flags.target):
        print(file)


def report(arguments: list[str]) -> None:
    """``vkd report RUN ...``"""
    parser = Parser(prog="vkd report", description="One self-contained HTML page from run folders.")
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folders")
    parser.add_argument("--output", default="report.html", help="file to write")
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it exists")
    flags = parser.parse_args(arguments)
    output = Path(flags.output)
    if output.exists() and not flags.overwrite:
        raise FieldError("output", f"{output} exists already; name a new file or give --overwrite.")
    from vkd.reporting.report import write_report

    print(write_report([Path(run) for run in flags.runs], output))


def recipes(arguments: list[str]) -> None:
    """``vkd recipes``"""
    Parser(prog="vkd recipes", description="Lists the recipes.").parse_args(arguments)
    width = max(map(len, recipe_names())) + 2
    for name in recipe_names():
        print(f"{name:<{width}}{recipe_summary(name)}")


def models(arguments: list[str]) -> None:
    """``vkd models``"""
    parser = Parser(
        prog="vkd models", description=f"Lists our models. A network is named as {FORMS}."
    )
    parser.add_argument("--timm", action="store_true", help="list timm's models too")
    parser.add_argument("--torchvision", action="store_true", help="list torchvision's too")
    flags = parser.parse_args(arguments)
    import timm

    from vkd.models import our_models
    from vkd.models.sources.torchvision import torchvision_names

    others = timm.list_models() if flags.timm else []
    others += torchvision_names() if flags.torchvision else []
    print("\n".join(sorted({*our_models(), *others})))


def layers(arguments: list[str]) -> None:
    """``vkd layers NAME``"""
    parser = Parser(
        prog="vkd layers", description="A model's layers: name, kind, shape of the output."
    )
    parser.add_argument("name", metavar="NAME", help=FORMS)
    parser.add_argument("--input_size", type=int, default=0, help="side of images; 0 for its own")
    parser.add_argument("--channels", type=int, default=0, help="of images; 0 for its own")
    flags = parser.parse_args(arguments)
    from vkd.api.layers import model_layers

    found, default = model_layers(flags.name, flags.input_size, flags.channels)
    rows = [(row.name, row.kind, str(row.shape)) for row in found]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    # A part of a layer's output follows after a colon.
    tapped = default.rpartition(":")[0] if default and ":" in default else default
    for name, kind, shape in rows:
        mark = f"  <- by default: {default}" if name == tapped else ""
        print(f"{name:<{widths[0]}}  {kind:<{widths[1]}}  {shape}{mark}")


def _add_fields(parser: Parser, found: Sequence[tuple[str, type, str]]) -> None:
    """Add flags of fields that change a recipe's."""
    for name, kind, text in found:
        parser.add_argument(f"--{name}", type=kind, help=f"{text}; the recipe's by default")


def _add_checkpoint_flags(parser: Parser) -> None:
    parser.add_argument("--checkpoint", required=True, help="weights file or run folder")
    parser.add_argument("--recipe", default="", help="where the checkpoint does not name its own")
    parser.add_argument(
        "--student", default=None, help="its network, where that is FILE.py:FUNCTION"
    )


def print_metrics(metrics: dict[str, Any]) -> None:
    """Print metrics by name, from the first process alone."""
    if os.environ.get("RANK", "0") != "0":  # torchrun's other processes have the same
        return
    for name, value in metrics.items():
        print(f"{name}: {value:.6g}" if isinstance(value, float) else f"{name}: {value}")
