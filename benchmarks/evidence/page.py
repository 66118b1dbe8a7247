"""Write the tables of all answers into their pages, each between the comments with its name.

python benchmarks/evidence/page.py
"""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "results"
ROOT = Path(__file__).parents[2]
# The one table that the plan chose for it.
OF_README = "recognition"


def block(found: dict[str, Any]) -> str:
    """Return an answer's tables, and what they were measured with."""
    # Seeds that were trained on several days or machines have several.
    places = {tuple(place) for place in found.get("places", {}).values()}
    where = found["environment"]
    places = places or {(where["hardware"], where["date"])}
    measured = "; ".join(", ".join(place) for place in sorted(places))
    tried = _tried(found["trials"], found.get("settings_of", ""))
    networks = "".join(
        f"The {role}: {metric} {value:.1f}. "
        for role, own in found.get("networks", {}).items()
        for metric, value in own.items()
    )
    teachers = len(set(found.get("teachers", {}).values()))
    others = f"The runs have {teachers} such teachers. " if teachers > 1 else ""
    lines = [f"{found['title']}. {networks}{others}{tried}{measured}.", ""]
    return "\n".join([*lines, *found["table"]]).strip()


def _tried(trials: list[dict[str, Any]], settings_of: str) -> str:
    """In how many trials settings were found, or whose they are; nothing where none were tried."""
    if settings_of:
        return f"Settings: those of {settings_of}. "
    counts = Counter(trial["method"] for trial in trials).values()
    if not counts:
        return ""
    fewest, most = min(counts), max(counts)
    return f"Trials of each method: {fewest if fewest == most else f'{fewest} to {most}'}. "


def with_tables(page: str, answers: dict[str, dict[str, Any]]) -> str:
    """Return a page whose comments have the tables of the answers between them.

    Raises:
        ValueError: if a comment of an answer is missing.
    """
    for name, found in answers.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(\n<!-- end of {name} -->)", re.DOTALL)
        if not pattern.search(page):
            raise ValueError(f"The page has no comments {name} and end of {name}.")
        text = block(found)
        page = pattern.sub(lambda match, text=text: match[1] + text + match[2], page)
    return page


def answers() -> dict[Path, dict[str, dict[str, Any]]]:
    """Return all answers that there are, by page and name."""
    found = {file.stem: _read(file) for file in sorted((RESULTS / "evidence").glob("*.json"))}
    of_generation = {name: RESULTS / f"generation_{name}.json" for name in ("terms", "seeds")}
    return {
        ROOT / "docs" / "evidence.md": found,
        ROOT / "README.md": {name: own for name, own in found.items() if name == OF_README},
        ROOT / "docs" / "generation.md": {
            n: _read(f) for n, f in of_generation.items() if f.is_file()
        },
    }


def _read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text())


def main() -> None:
    """Write the pages."""
    for page, found in answers().items():
        page.write_text(with_tables(page.read_text(), found))


if __name__ == "__main__":
    main()
