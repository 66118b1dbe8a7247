"""The two files and the summary."""

import json
import math
from collections import Counter
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from gpu_checks.context import Settings
from gpu_checks.rows import Outcome, Row
from gpu_checks.runner import Result
from vkd.reporting.environment import environment

_PACKAGES = ("torchvision", "accelerate", "triton")
_OUTCOMES: tuple[Outcome, ...] = ("passed", "failed", "measured", "skipped")


def write(path: Path, results: list[Result], settings: Settings) -> None:
    """Write ``path`` with the endings .json and .md; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    about = surroundings()
    content = {
        "environment": about,
        "quick": settings.quick,
        "seconds": round(sum(result.seconds for result in results), 1),
        "counts": counts(results),
        "checks": {
            result.check.name: {
                "title": result.check.title,
                "outcome": result.outcome,
                "seconds": round(result.seconds, 1),
                "rows": [_finite(asdict(row)) for row in result.rows],
            }
            for result in results
        },
    }
    path.with_suffix(".json").write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
    path.with_suffix(".md").write_text(page(results, about, settings))


def _finite(content: Any) -> Any:
    """The same with None for numbers that JSON does not have."""
    if isinstance(content, dict):
        return {name: _finite(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def surroundings() -> dict[str, str]:
    """Return date, versions and hardware by name."""
    found = environment()
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "none"
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        found["cuda"] = str(torch.version.cuda)
        found["memory"] = f"{properties.total_memory / 2**30:.0f} GiB"
        found["capability"] = f"{properties.major}.{properties.minor}"
    return found


def counts(results: list[Result]) -> dict[str, int]:
    """Return how many rows there are of each outcome."""
    found = Counter(row.outcome for result in results for row in result.rows)
    return {outcome: found[outcome] for outcome in _OUTCOMES}


def summary(results: list[Result]) -> str:
    """Return one line, and one for each row that failed."""
    numbers = ", ".join(f"{count} {outcome}" for outcome, count in counts(results).items())
    seconds = sum(result.seconds for result in results)
    failures = [
        f"FAILED  {result.check.title}: {row.what}: {_found(row)}"
        for result in results
        for row in result.rows
        if row.outcome == "failed"
    ]
    return "\n".join([f"{numbers}, in {seconds:.0f} s", *failures])


def page(results: list[Result], about: dict[str, str], settings: Settings) -> str:
    """Return the Markdown page with the table."""
    kind = "A quick run, to try the checks: its numbers say nothing.\n\n" if settings.quick else ""
    lines = [
        "| check | what | found | against | limit | outcome |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for result in results:
        title = f"**{result.check.title}**, {result.seconds:.0f} s"
        for row in result.rows:
            lines.append(f"| {title} | {' | '.join(_cells(row))} |")
            title = ""
    rest = {name: value for name, value in about.items() if name != "hardware"}
    heading = " · ".join(f"{name} {value}" for name, value in rest.items())
    return (
        f"# {about['hardware']}\n\n{heading}\n\n{kind}"
        f"{summary(results).replace(chr(10), chr(10) * 2)}\n\n" + "\n".join(lines) + "\n"
    )


def _cells(row: Row) -> list[str]:
    against = "" if row.times is None else f"{row.times:.3g} × {row.baseline}"
    limit = "" if row.limit is None else f"≤ {row.limit:g} {row.unit}".strip()
    outcome = "**FAILED**" if row.outcome == "failed" else row.outcome
    return [_plain(part) for part in (row.what, _found(row), against, limit, outcome)]


def _found(row: Row) -> str:
    """The value with its unit, and the note."""
    value = "" if row.value is None else f"{_number(row.value)} {row.unit}".strip()
    return "; ".join(part for part in (value, row.note) if part)


def _number(value: float) -> str:
    """Three digits, and none of them behind an exponent where that is no longer."""
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e7 else f"{value:.3g}"


def _plain(text: str) -> str:
    return text.replace("|", "\\|")
