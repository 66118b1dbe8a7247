"""What the package depends on: what for, where, under which licence and how large.

    python scripts/dependencies.py            # prints the tables
    python scripts/dependencies.py --write    # puts them into docs/dependencies.md

Sizes and licences are those of the environment that it runs in.
"""

import argparse
import ast
import platform
import sys
import tomllib
from collections.abc import Iterable, Iterator
from datetime import date
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "vkd"
DOCS = ROOT / "docs" / "dependencies.md"
_BEGIN, _END = "<!-- written by scripts/dependencies.py -->\n", "<!-- until here -->"

# What each is for. A new dependency needs a line here, see docs/dependencies.md.
PURPOSES = {
    "accelerate": "devices, processes, mixed precision and saved state of training; trackers",
    "argcomplete": "completion of commands and flags in shells",
    "datasets": "data sets in the formats of Hugging Face",
    "defusedxml": "Pascal VOC's XML, which others wrote, without its entities",
    "faster-coco-eval": "COCO's metrics",
    "filelock": "keeps two runs out of one folder",
    "huggingface_hub": "model cards, and models of the hub",
    "jinja2": "pages of reports, with every text escaped",
    "jsonargparse": "flags of the command line, typed by the recipes' fields",
    "lightning": "distillation in its training loop",
    "markupsafe": "marks drawings that pages take as they are",
    "matplotlib": "plots of the reports and of the demo",
    "numpy": "arrays where torch has none: pictures, tables, boxes, statistics",
    "onnx": "what torch writes as ONNX",
    "onnxruntime": "runs exported networks",
    "onnxscript": "torch's writer of ONNX",
    "pillow": "opens, draws and writes pictures",
    "psutil": "memory of a trial step, and which processes are alive",
    "pyarrow": "Parquet tables",
    "pyyaml": "recipes",
    "rich": "tables and progress in the terminal",
    "safetensors": "weights and stores, read without running code",
    "scikit-learn": "the digits of the demo and of the embedded recipes, and the linear probe",
    "scipy": "matching of detections, and intervals of paired differences",
    "tensorboard": "the tracker of that name",
    "timm": "networks, optimisers, schedules and averaged weights",
    "torch": "all that is computed",
    "torch-fidelity": "FID, KID and IS of generated images, and Inception",
    "torchvision": "augmentation, and boxes",
    "transformers": "networks by the name hf/OWNER/NAME",
}
# Needed by another that is imported, which does not declare it or leaves it to extras.
THROUGH = {
    "onnx": "torch.onnx",
    "onnxruntime": "users of exported networks",
    "tensorboard": "accelerate",
}
# Imported, and installed by another wherever it is of use.
BROUGHT = {"triton": "torch"}
# By what other name a distribution is imported.
_MODULES = {"pillow": "PIL", "pyyaml": "yaml", "scikit-learn": "sklearn"}


def declared() -> dict[str, list[str]]:
    """Return the distributions that pyproject.toml declares, by extra; the base's is empty."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = {"": project["dependencies"], **project.get("optional-dependencies", {})}
    # An extra may be made of others: vkd[other].
    return {
        extra: [name for line in lines if (name := Requirement(line).name) != "vkd"]
        for extra, lines in groups.items()
    }


def module_of(name: str) -> str:
    """Return the module by which a distribution is imported."""
    return _MODULES.get(name, name.replace("-", "_"))


@cache
def imports() -> dict[str, set[str]]:
    """Return the folders and files of the package that import each module of others."""
    found: dict[str, set[str]] = {}
    for file in sorted(SOURCE.rglob("*.py")):
        place = file.relative_to(SOURCE).parts[0]
        for module in _modules_in(file):
            top = module.split(".")[0]
            if top != "vkd" and top not in sys.stdlib_module_names:
                found.setdefault(top, set()).add(place)
    return found


def _modules_in(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module or ""


def licence_of(found: Distribution) -> str:
    """Return the licence that a distribution's metadata name."""
    told = found.metadata.get("License-Expression") or found.metadata.get("License") or ""
    classified = [
        line.split(" :: ")[-1]
        for line in found.metadata.get_all("Classifier") or []
        if line.startswith("License :: ") and line != "License :: OSI Approved"
    ]
    is_name = bool(told) and "\n" not in told and len(told) <= 40
    if is_name or "License-Expression" in found.metadata:
        return told
    return classified[0] if classified else "see its licence file"


def size_of(names: Iterable[str]) -> int:
    """Return the bytes of the files of distributions, compiled code of Python aside."""
    total = 0
    for name in names:
        for file in distribution(name).files or []:
            place = Path(str(file.locate()))
            if place.suffix != ".pyc" and place.is_file():
                total += place.stat().st_size
    return total


def with_requirements(requirements: Iterable[str]) -> set[str]:
    """Return the distributions of requirements with all that these require here, by name."""
    found: set[tuple[str, frozenset[str]]] = set()
    waiting = [Requirement(line) for line in requirements]
    while waiting:
        wanted = waiting.pop()
        key = (canonicalize_name(wanted.name), frozenset(wanted.extras))
        if key in found or not _is_here(key[0]):
            continue
        found.add(key)
        for line in distribution(wanted.name).requires or []:
            part = Requirement(line)
            extras = ["", *wanted.extras]
            if part.marker is None or any(part.marker.evaluate({"extra": e}) for e in extras):
                waiting.append(part)
    return {name for name, _ in found}


def _is_here(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:  # of another platform
        return False
    return True


def tables() -> str:
    """Return the tables of the base install and of each extra."""
    groups = declared()
    base, torch = with_requirements(groups[""]), with_requirements(["torch"])
    parts = [
        f"Measured on {date.today().isoformat()} with Python {platform.python_version()} on "
        f"{platform.system()} {platform.machine()}.\n",
        f"### Base: {_megabytes(size_of(base))}, of which {_megabytes(size_of(torch))} are torch "
        "with what it brings\n",
        _table(groups[""], torch),
    ]
    for extra, names in sorted(groups.items()):
        if extra:
            more = with_requirements(names) - base
            parts += [
                f"### Extra `{extra}`: {_megabytes(size_of(more))} more\n",
                _table(names, base),
            ]
    return "\n".join(parts)


def _table(names: list[str], present: set[str]) -> str:
    rows = ["| package | what for | where | licence | size | with what it brings, torch aside |",
            "| --- | --- | --- | --- | --- | --- |"]  # fmt: skip
    for name in sorted(names, key=str.lower):
        places = sorted(imports().get(module_of(name), set()))
        where = ", ".join(f"`{place}`" for place in places[:4])
        where += f" and {len(places) - 4} more" if len(places) > 4 else ""
        where = where or f"by {THROUGH[name]}"
        cells = [name, PURPOSES[name], where, *_measured(name, present)]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def _measured(name: str, present: set[str]) -> list[str]:
    if not _is_here(name):
        return ["not installed", "", ""]
    whole = with_requirements([name])
    whole -= set() if name == "torch" else present
    sizes = [_megabytes(size_of(part)) for part in ([name], whole)]
    return [licence_of(distribution(name)), *sizes]


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count < 1e8 else f"{count / 1e6:,.0f} MB"


def written(text: str, found: str) -> str:
    """Return the page with its tables replaced."""
    head, _, rest = text.partition(_BEGIN)
    return head + _BEGIN + "\n" + found + "\n" + _END + rest.partition(_END)[2]


def main() -> None:
    """Print the tables, or write them into the page."""
    parser = argparse.ArgumentParser(description="What the package depends on.")
    parser.add_argument("--write", action="store_true", help=f"into {DOCS.relative_to(ROOT)}")
    if parser.parse_args().write:
        DOCS.write_text(written(DOCS.read_text(), tables()))
    else:
        print(tables())


if __name__ == "__main__":
    main()
