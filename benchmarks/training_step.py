"""A training step side by side: ours, the paper's release's, timm's and torchdistill's.

    python benchmarks/training_step.py                       # all pairs, about 15 minutes
    python benchmarks/training_step.py --pairs deit-ti --batch-size 256 --device cuda

The unit is a step of the student alone by the same recipe: forward, backward and the optimiser's
step. Networks have random weights and images are made, in memory, since neither changes the time.
Every row has a process of its own; in each round all take a step in turn, and the store and the
student do so once more with no other process alive. The release's way is our step with its
projection (``torch.nn.utils.parametrizations.orthogonal``, by its defaults) and with the loss and
its terms read at every step. Rows of memory are the process's largest size, or that of its tensors
on CUDA. ``results/training_step.json`` and ``.md`` keep all of it.

torchdistill is measured where it is installed: ``pip install --no-deps torchdistill``.
"""

import argparse
import importlib.util
import json
import os
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from steps.measuring import apart, measured
from steps.pair import Settings
from steps.pairs import PAIRS, make_pair
from steps.profiling import profile_of
from steps.report import UNIT, goals_of, lines_of
from vkd.precision import CLEARLY, STATED, measure
from vkd.reporting.environment import environment

RESULTS = Path(__file__).parent / "results"
BESIDE = 3  # times as many rounds for the store beside the student


def bfloat16_times(device: torch.device) -> float:
    """Return how many times as fast as float32 a device is in bfloat16 with channels last."""
    seconds = measure(device, [STATED["float32"], STATED["bfloat16"]])
    return seconds[STATED["float32"]] / seconds[STATED["bfloat16"]]


def pair_results(name: str, settings: Settings, rounds: int) -> tuple[dict[str, Any], list[str]]:
    """Return what was measured of a pair, as JSON and as lines of Markdown."""
    pair = make_pair(name, settings)
    pair.folder.mkdir()
    apart(pair.prepare)
    rows, left_out = list(pair.rows), dict(pair.left_out)
    times = bfloat16_times(torch.device(settings.device))
    if times < CLEARLY:
        rows.remove("network-bfloat16")
        left_out["network-bfloat16"] = f"bfloat16 is {times:.1f} times as fast as float32 here"
    if "torchdistill" in rows and importlib.util.find_spec("torchdistill") is None:
        rows.remove("torchdistill")
        left_out["torchdistill"] = "torchdistill is not installed"
    found = measured(pair, rows, rounds)
    # Two rows a few percent apart need more rounds, and a machine that holds nothing else.
    beside = measured(pair, [UNIT, "store"], BESIDE * rounds) if "store" in rows else {}
    profile = apart(profile_of, pair)
    content = {
        "recipe": pair.recipe,
        "rows": {row: asdict(part) for row, part in found.items()},
        "beside": {row: asdict(part) for row, part in beside.items()},
        "goals": [goal._asdict() | {"is_met": goal.is_met} for goal in goals_of(found, beside)],
        "profile": profile,
        "left_out": left_out,
    }
    return content, lines_of(found, beside, profile, left_out)


def main() -> None:
    """Measure the pairs, print their tables and keep them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", default=",".join(PAIRS), help="names with commas between")
    parser.add_argument("--batch-size", type=int, default=16, help="of detectors a quarter [16]")
    parser.add_argument("--rounds", type=int, default=3, help="in which all rows take turns [3]")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--quick", action="store_true", help="small networks and images")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the results")
    flags = parser.parse_args()
    if flags.rounds < 1:
        parser.error(f"--rounds must be at least 1, found {flags.rounds}")
    if flags.batch_size < 4 or flags.batch_size % 2:
        # Mixing takes pairs, and whitening several samples.
        parser.error(f"--batch-size must be even and at least 4, found {flags.batch_size}")
    names = flags.pairs.split(",")
    for name in names:
        if name not in PAIRS:
            parser.error(f"--pairs must be of {', '.join(PAIRS)}, found {name}")
    device = flags.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler complains where there is no GPU
    made_of = environment()
    title = f"deit and biggan batch {flags.batch_size}, vidt a quarter; {flags.rounds} rounds"
    lines = ["# A training step, side by side", "", " · ".join(made_of.values()), "", title]
    content: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(flags.batch_size, device, flags.quick, Path(folder))
        for name in names:
            content[name], table = pair_results(name, settings, flags.rounds)
            lines += ["", f"## {name}", "", *table]
            print("\n".join([f"\n## {name}", *table]), flush=True)
    settings_of = {key: value for key, value in vars(flags).items() if key != "output"}
    kept = {"environment": made_of, "settings": settings_of, "pairs": content}
    flags.output.mkdir(exist_ok=True)
    (flags.output / "training_step.json").write_text(json.dumps(kept, indent=1) + "\n")
    (flags.output / "training_step.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
