"""``vkd bench``: how fast a checkpoint's network is, as a table and as JSON."""

import json
from pathlib import Path
from typing import Any

from vkd.cli.parser import Parser
from vkd.errors import FieldError
from vkd.files import write_whole
from vkd.places import check_new_file
from vkd.plain_text import plain

_DASH = "–"


def bench(arguments: list[str]) -> None:
    """``vkd bench --checkpoint FILE_OR_RUN``"""
    parser = Parser(
        prog="vkd bench",
        description="Latency and throughput of a network on this machine, in PyTorch and ONNX "
        "Runtime, beside another's: all take turns. Inputs are made, and reading is not measured.",
    )
    add = parser.add_argument
    add("--checkpoint", required=True, help="weights file, run folder or .onnx file")
    add("--against", default="", help="another of these, a network's name, or teacher for the "
        "run's own")  # fmt: skip
    add("--student", default=None, help="its network, where that is FILE.py:FUNCTION")
    add("--recipe", default="", help="where a checkpoint does not name its own")
    add("--batch_sizes", default="1,32", help="samples of a batch, with commas between")
    add("--height", type=int, default=0, help="of images; 0 for the recipe's")
    add("--width", type=int, default=0, help="of images; 0 for the recipe's")
    add("--device", default="auto", help="auto, cpu, cuda or mps")
    add("--threads", type=int, default=0, help="on the CPU; 0 for as many as PyTorch takes")
    add("--compile", action="store_true", help="measure torch.compile too")
    add("--onnx", type=bool, default=True, help="measure ONNX Runtime where it is installed")
    add("--rounds", type=int, default=100, help="of each batch size, at most")
    add("--seconds", type=float, default=10.0, help="of each batch size, for five rounds or more")
    add("--json", action="store_true", help="print JSON")
    add("--output", default="", help="new JSON file of the result")
    add("--save", action="store_true", help="keep it in the run folder, as bench.json")
    flags = parser.parse_args(arguments)
    output = Path(flags.output) if flags.output else None
    if output is not None:
        check_new_file(output, "output")
    batch_sizes = _numbers(flags.batch_sizes)
    from vkd.api.bench import bench as measure

    report = measure(
        flags.checkpoint, flags.against, flags.recipe, student=flags.student,
        batch_sizes=batch_sizes,
        size=(flags.height, flags.width), device=flags.device, threads=flags.threads,
        compile=flags.compile, onnx=flags.onnx, rounds=flags.rounds, seconds=flags.seconds,
        save=flags.save,
    )  # fmt: skip
    text = json.dumps(report.as_dict(), indent=1)
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_whole(output, text + "\n")
    if flags.json:
        print(text)
    else:
        _print(report)


def _numbers(text: str) -> list[int]:
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() for word in words):
        raise FieldError(
            "batch_sizes", f"must be whole numbers with commas between, found {text[:80]!r}."
        )
    return [int(word) for word in words]


def _print(report: Any) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    # A table that is piped is not cut to the width of a terminal that is not there.
    console = console if console.is_terminal else Console(width=120)
    sizes = Table(title="Networks")
    for name in ("", "network"):
        sizes.add_column(name)
    for name in ("parameters", "multiply-adds", "file", "inputs"):
        sizes.add_column(name, justify="right")
    for network in report.networks:
        shapes = ", ".join("x".join(map(str, s)) or "1" for s in network.inputs.values())
        sizes.add_row(
            network.label, plain(network.name or Path(network.source).name),
            _large(network.parameters), _large(network.macs), _bytes(network.file_bytes), shapes,
        )  # fmt: skip
    console.print(sizes)
    title = f"On {report.environment['hardware']}: {report.device}, threads: {report.threads}"
    rounds = sorted({len(timing.seconds) for timing in report.timings})
    number = f"{rounds[0]} to {rounds[-1]}" if rounds[1:] else str(rounds[0])
    caption = f"median of {number} rounds, in which all took turns"
    times = Table(title=title, caption=caption)
    for name in ("batch", "runtime", ""):
        times.add_column(name, justify="right" if name == "batch" else "left")
    for name in ("ms a batch", "p10 to p90", "images/s", "times as fast"):
        times.add_column(name, justify="right")
    ratios = {(ratio.runtime, ratio.batch_size): ratio.times for ratio in report.ratios}
    for timing in sorted(report.timings, key=lambda t: (t.batch_size, t.runtime)):
        latency = timing.latency
        ratio = ratios.get((timing.runtime, timing.batch_size))
        shown = _DASH
        if ratio is not None and timing.network == "student":
            shown = f"{ratio['median']:.2f} ({ratio['p10']:.2f} to {ratio['p90']:.2f})"
        times.add_row(
            str(timing.batch_size), timing.runtime, timing.network, f"{latency['median']:.4g}",
            f"{latency['p10']:.4g} to {latency['p90']:.4g}", _speed(timing.images_per_second),
            shown,
        )  # fmt: skip
    console.print(times)


def _large(number: int | None) -> str:
    if number is None:
        return _DASH
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return str(number)


def _speed(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def _bytes(number: int | None) -> str:
    return _DASH if number is None else f"{number / 1e6:.2f} MB"
