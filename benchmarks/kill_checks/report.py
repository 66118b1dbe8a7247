"""The results of kills.py: a table, and files that later calls add to."""

import json
from pathlib import Path
from typing import Any

from vkd.reporting.environment import environment

KILLS = {
    "SIGKILL at a file event", "a signal at a file event, then SIGKILL",
    "a signal at a random instant", "torchrun starts again by itself", "Ctrl-C twice",
}  # fmt: skip


class Results:
    """Trials with what was lost, kept in a file.

    Args:
        file: the JSON file; what it holds is kept.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.trials: dict[str, dict[str, Any]] = {}
        if file.is_file():
            self.trials = json.loads(file.read_text())["trials"]

    def add(self, key: str, case: str, kind: str, detail: str, lost: list[str]) -> None:
        """Keep a trial."""
        self.trials[key] = {"case": case, "kind": kind, "detail": detail, "lost": lost}
        self.write()

    def write(self) -> None:
        """Write the JSON file, and the table beside it."""
        found = {"environment": environment(), "summary": self.rows(), "trials": self.trials}
        self.file.write_text(json.dumps(found, indent=1) + "\n")
        self.file.with_suffix(".md").write_text(self.page())

    def rows(self) -> list[dict[str, Any]]:
        """The table: trials of each kind and case."""
        counts: dict[tuple[str, str], list[int]] = {}
        for trial in self.trials.values():
            row = counts.setdefault((trial["kind"], trial["case"]), [0, 0])
            row[0] += 1
            row[1] += not trial["lost"]
        return [
            {"kind": kind, "case": case, "tried": tried, "held": held, "lost": tried - held}
            for (kind, case), (tried, held) in sorted(counts.items())
        ]

    @property
    def summary(self) -> str:
        """All kills in one line."""
        killed = [trial for trial in self.trials.values() if trial["kind"] in KILLS]
        held = sum(not trial["lost"] for trial in killed)
        return f"{held} of {len(killed)} killed runs lost nothing"

    def page(self) -> str:
        """The table, and what was lost."""
        lines = ["# Runs that were killed", "", " · ".join(environment().values()), ""]
        lines += [f"{self.summary}. Made by `python benchmarks/kills.py`.", ""]
        lines += [
            "The machine is that of the last call; trials of earlier calls may be of others.",
            "",
        ]
        lines += [
            "| what befell it | training | tried | held | lost |",
            "| --- | --- | --- | --- | --- |",
        ]
        lines += ["| " + " | ".join(map(str, row.values())) + " |" for row in self.rows()]
        lost = [trial for trial in self.trials.values() if trial["lost"]]
        if lost:
            lines += ["", "## Lost", ""]
        for trial in lost:
            first = " ".join(trial["lost"][0].split())[-300:]
            lines.append(f"- {trial['case']}, {trial['kind']}, {trial['detail']}: {first}")
        return "\n".join(lines) + "\n"
