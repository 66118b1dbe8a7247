"""The commands: each parses its flags and calls what does the work.

Whatever imports torch is imported only after the flags were found right.
"""

import json
import os
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from vkd.cli.parser import Parser
from vkd.config import CONFIGS, TrainingConfig, config_of, read_recipe, recipe_names
from vkd.errors import UserError

_EVALUATION_FIELDS = ("data_path", "device", "workers", "predictions")


def demo(arguments: list[str]) -> None:
    """``vkd demo``"""
    parser = Parser(prog="vkd demo", description="Teach tiny transformers digits, by each method.")
    parser.add_argument("--output", default="demo", help="new folder for results and report")
    parser.add_argument("--seeds", type=int, default=5, help="students of each method")
    parser.add_argument("--epochs", type=int, default=0, help="0 for the recipes' own")
    parser.add_argument("--grid", type=bool, default=True, help="projection x normalisation too")
    flags = parser.parse_args(arguments)
    from vkd.demo.run import run_demo

    run_demo(Path(flags.output), flags.seeds, flags.epochs, flags.grid)


def train(arguments: list[str]) -> None:
    """``vkd train RECIPE``"""

    def add_flags(parser: Parser, recipe: str) -> None:
        parser.add_argument("--output", default=f"runs/{recipe}", help="run folder")
        parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")

    config, flags = _recipe("train", arguments, add_flags, "[--output FOLDER] [--resume]")
    from vkd import tasks

    metrics = tasks.train(config, Path(flags.output), flags.resume)
    print_metrics(metrics | {"run": flags.output})
    tasks.end_processes()


def cache(arguments: list[str]) -> None:
    """``vkd cache RECIPE``"""

    def add_flags(parser: Parser, recipe: str) -> None:
        parser.add_argument("--output", default=f"stores/{recipe}", help="folder of the store")
        parser.add_argument("--views", type=int, default=0, help="augmented views of each image")
        parser.add_argument("--dtype", choices=("float16", "float32"), default="float16")

    config, flags = _recipe("cache", arguments, add_flags, "[--output STORE] [--views N]")
    if flags.views < 0:
        raise UserError(f"--views must be at least 0, found {flags.views}.")
    from vkd import tasks

    sizes = tasks.cache(config, Path(flags.output), flags.views, flags.dtype)
    print_metrics(sizes | {"store": flags.output})
    tasks.end_processes()


def _recipe(
    command: str, arguments: list[str], add_flags: Callable[[Parser, str], None], usage: str
) -> tuple[TrainingConfig, Any]:
    """The recipe that ``arguments`` name first, changed by the flags that follow, and all flags;
    ``add_flags`` adds the command's own."""
    recipe, *rest = arguments or ["--help"]
    if recipe in ("-h", "--help"):
        print(f"usage: vkd {command} RECIPE {usage} [--FIELD VALUE ...]\n\n"
              f"Recipes: {', '.join(recipe_names())}, or a YAML file.\n"
              f"`vkd {command} RECIPE --help` tells its fields.")  # fmt: skip
        raise SystemExit(0)
    if recipe.startswith("-"):
        raise UserError(f"vkd {command} takes the recipe first, found {recipe}.")
    values = read_recipe(recipe)
    parser = Parser(prog=f"vkd {command} {recipe}")
    add_flags(parser, Path(recipe).stem)
    kind = CONFIGS[values["task"]]
    parser.add_class_arguments(kind, skip={"task"}, fail_untyped=True)
    parser.set_defaults({key: value for key, value in values.items() if key != "task"})
    flags = parser.parse_args(rest)
    chosen = {field.name: flags[field.name] for field in fields(kind) if field.name != "task"}
    return config_of({"task": values["task"]} | chosen), flags


def eval(arguments: list[str]) -> None:
    """``vkd eval --checkpoint FILE_OR_RUN``"""
    parser = Parser(prog="vkd eval", description="Metrics of a checkpoint on the test split.")
    _add_checkpoint_flags(parser)
    parser.add_argument("--data_path", default="", help="folder of the data")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--workers", type=int, default=0, help="processes that load data")
    parser.add_argument("--predictions", default="", help="file for a detector's COCO results")
    flags = parser.parse_args(arguments)
    from vkd import tasks

    chosen = {name: value for name, value in vars(flags).items() if name in _EVALUATION_FIELDS}
    print_metrics(tasks.evaluate(flags.checkpoint, flags.recipe, **chosen))
    tasks.end_processes()


def predict(arguments: list[str]) -> None:
    """``vkd predict --checkpoint FILE_OR_RUN IMAGE ...``"""
    parser = Parser(
        prog="vkd predict", description="One line of JSON for each image that is looked at or made."
    )
    parser.add_argument("images", nargs="*", metavar="IMAGE", help="image files")
    _add_checkpoint_flags(parser)
    parser.add_argument("--output", type=str, help="detectors: folder for pictures with boxes; "
                        "generators: new PNG file, or folder of them (samples.png)")  # fmt: skip
    parser.add_argument("--threshold", type=float, help="detectors: least score of a box (0.5)")
    parser.add_argument("--classes", type=str, help="generators: names or numbers, with commas")
    parser.add_argument("--count", type=int, help="generators: images of each class (8)")
    parser.add_argument("--seed", type=int, help="generators: of the noise (0)")
    flags = parser.parse_args(arguments)
    from vkd import tasks

    options = {name: flags[name] for name in ("output", "threshold", "classes", "count", "seed")}
    for record in tasks.predict(flags.checkpoint, flags.images, flags.recipe, **options):
        print(json.dumps(record))


def export(arguments: list[str]) -> None:
    """``vkd export --checkpoint FILE_OR_RUN OUT``"""
    parser = Parser(prog="vkd export", description="A checkpoint as ONNX (.onnx) or by "
                    "torch.export (.pt2); inputs and outputs are printed.")  # fmt: skip
    parser.add_argument("target", metavar="OUT", help="new .onnx or .pt2 file")
    _add_checkpoint_flags(parser)
    parser.add_argument("--height", type=int, default=0, help="of images; 0 for the recipe's")
    parser.add_argument("--width", type=int, default=0, help="of images; 0 for the recipe's")
    flags = parser.parse_args(arguments)
    if not flags.target.endswith((".onnx", ".pt2")):
        raise UserError(f"OUT must end in .onnx or .pt2, found {flags.target}.")
    from vkd.tasks.export import export as export_checkpoint

    size = (flags.height, flags.width)
    for line in export_checkpoint(flags.checkpoint, Path(flags.target), flags.recipe, size):
        print(line)


def convert(arguments: list[str]) -> None:
    """``vkd convert IN OUT``"""
    parser = Parser(prog="vkd convert", description="A published checkpoint to safetensors.")
    parser.add_argument("source", metavar="IN", help="the paper's .pth, or any of PyTorch's")
    parser.add_argument("target", metavar="OUT", help="new .safetensors file")
    flags = parser.parse_args(arguments)
    if not flags.target.endswith(".safetensors"):
        raise UserError(f"OUT must end in .safetensors, found {flags.target}.")
    from vkd.tasks.convert import convert as convert_checkpoint

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
        raise UserError(f"--output {output} exists already; name a new file or give --overwrite.")
    from vkd.reporting.report import write_report

    print(write_report([Path(run) for run in flags.runs], output))


def recipes(arguments: list[str]) -> None:
    """``vkd recipes``"""
    Parser(prog="vkd recipes", description="Lists the recipes.").parse_args(arguments)
    for name in recipe_names():
        first = (Path(__file__).parent.parent / "recipes" / f"{name}.yaml").read_text()
        print(f"{name:<24}{first.splitlines()[0].lstrip('# ')}")


def models(arguments: list[str]) -> None:
    """``vkd models``"""
    parser = Parser(prog="vkd models", description="Lists our models; timm's names work as well.")
    parser.add_argument("--timm", action="store_true", help="list timm's models too")
    flags = parser.parse_args(arguments)
    import timm

    from vkd.models import OUR_MODELS

    print("\n".join(sorted({*OUR_MODELS, *(timm.list_models() if flags.timm else ())})))


def _add_checkpoint_flags(parser: Parser) -> None:
    parser.add_argument("--checkpoint", required=True, help="weights file or run folder")
    parser.add_argument("--recipe", default="", help="where the checkpoint does not tell its own")


def print_metrics(metrics: dict[str, Any]) -> None:
    """Print metrics by name, from the first process alone."""
    if os.environ.get("RANK", "0") != "0":  # torchrun's other processes know the same
        return
    for name, value in metrics.items():
        print(f"{name}: {value:.6g}" if isinstance(value, float) else f"{name}: {value}")
