"""Pictures of what a generator made, over time."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from vkd.data.pictures import open_small
from vkd.inside import inside
from vkd.notes import say
from vkd.reporting.blocks import Block, Gallery, Heading, Section, Shown, shown

_MOST_SHOWN = 6
# Of a grid, so that a page stays small whoever wrote the run folder.
_MOST_PIXELS = 1 << 24


def sample_section(runs: Mapping[str, Path]) -> Section:
    """Return a section of pictures that each run made; without blocks where none did."""
    blocks: list[Block] = []
    for name, run in runs.items():
        files = sorted((run / "samples").glob("epoch-[0-9][0-9][0-9][0-9][0-9].png"))
        linked = [f for f in files if inside(f.parent, f.name, through_links=False) is None]
        if linked:
            say(run, [f"{len(linked)} samples are left out, as they are links to other folders"])
        files = [file for file in files if file not in linked]
        step = max(1, -(-len(files) // _MOST_SHOWN))
        # From the last one back, which is always shown.
        chosen = files[::-1][::step][::-1]
        if not chosen:
            continue
        pictures = [_shown(name, file) for file in chosen]
        text = f"{len(chosen)} of {len(files)} epochs with samples; a row for each class."
        blocks += [Heading(name)] * (len(runs) > 1)
        blocks.append(Gallery(pictures, is_wide=True, text=text))
    return Section("Samples", blocks)


def _shown(name: str, file: Path) -> Shown:
    epoch = int(file.stem.removeprefix("epoch-"))
    caption = f"{name}, epoch {epoch}: a row for each class"
    return replace(shown(open_small(file, _MOST_PIXELS), caption), is_tiny=True)
