"""What ``vkd bench`` measured of a run, as tables."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vkd.files import read_json
from vkd.json_values import as_damaged, finite, whole
from vkd.reporting.blocks import Block, Missing, Section, Table

FILE = "bench.json"


def speed_section(runs: Mapping[str, Path]) -> Section:
    """Return a section of the speed of each run's network.

    Raises:
        UserError: if a ``bench.json`` is damaged.
    """
    blocks: list[Block] = []
    for name, run in runs.items():
        file = run / FILE
        if not file.is_file():
            blocks.append(
                Missing(f"Not recorded by {name}: it has no {FILE}, which vkd bench --save writes.")
            )
            continue
        record = read_json(file)
        with as_damaged(file):
            blocks.append(_table(name, record))
    return Section("Speed", blocks)


def _table(run: str, record: dict[str, Any]) -> Table:
    names = {one["label"]: one["name"] for one in record.get("networks", []) if one.get("name")}
    rows = [
        [
            _network(timing["network"], names) + f", {timing['runtime']}",
            str(whole(timing["batch_size"])),
            _time(timing, "median"),
            f"{_time(timing, 'p10')} to {_time(timing, 'p90')}",
            _speed(finite(timing["images_per_second"])),
        ]
        for timing in record["timings"]
    ]
    place = f"{record['environment']['hardware']}, {record['device']}, threads: {record['threads']}"
    notes = "".join(f" {note}." for note in record.get("notes", []))
    header = ["network", "batch", "ms a batch, median", "10 to 90 %", "images/s"]
    return Table(f"Speed of {run}", header, rows, text=f"On {place}.{notes}")


def _time(timing: dict[str, Any], name: str) -> str:
    return f"{finite(timing['latency_ms'][name]):.4g}"


def _network(label: str, names: dict[str, str]) -> str:
    return f"{label} ({names[label]})" if label in names else str(label)


def _speed(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"
