"""What a machine with one GPU makes of this package: one JSON file and one table.

    python benchmarks/gpu.py                 # at most nine minutes
    python benchmarks/gpu.py --quick         # tiny sizes, and the CPU where there is no CUDA

Runs from a checkout: nothing is installed and nothing is fetched. It needs torch, torchvision,
timm, accelerate and safetensors; what needs another package that is missing is skipped by its name.
Checks run in processes of their own, the most important first; what finds no time is skipped and
named. The exit code is 1 if a check failed.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from gpu_checks.catalogue import CHECKS
from gpu_checks.context import Settings
from gpu_checks.report import summary, write
from gpu_checks.runner import run

# Of the time for all: importing torch before, and writing the files.
_START = 15.0
RESULTS = Path(__file__).parent / "results" / "gpu"


def main() -> int:
    """Run the checks, write the files and return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to try the checks")
    parser.add_argument(
        "--minutes", type=float, default=9.0, help="time for all checks; what does not fit is named"
    )
    parser.add_argument(
        "--only", default="", metavar="CHECKS", help=f"some of: {', '.join(CHECKS)}"
    )
    parser.add_argument(
        "--fashion-mnist", default="", metavar="FOLDER", help="IDX files, if not Debian's"
    )
    parser.add_argument(
        "--output", type=Path, default=RESULTS, metavar="PATH",
        help="PATH.json and PATH.md are written",
    )  # fmt: skip
    arguments = parser.parse_args()
    chosen = arguments.only.split(",") if arguments.only else list(CHECKS)
    unknown = [name for name in chosen if name not in CHECKS]
    if unknown:
        parser.error(f"--only must name checks of {', '.join(CHECKS)}, found {unknown[0]!r}.")
    if not arguments.minutes > 0:
        parser.error(f"--minutes must be above 0, found {arguments.minutes:g}.")
    settings = Settings(arguments.quick, arguments.fashion_mnist)
    results = run([CHECKS[name] for name in chosen], settings, 60 * arguments.minutes - _START)
    write(arguments.output, results, settings)
    print(summary(results))
    print(f"{arguments.output.with_suffix('.md')} has the table.")
    return int(any(result.outcome == "failed" for result in results))


if __name__ == "__main__":
    sys.exit(main())
