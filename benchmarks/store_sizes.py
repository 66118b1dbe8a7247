"""Sizes of stores: the tables of docs/stores.md.

    python benchmarks/store_sizes.py

For classification the bytes are those that a store's rows take on disk. For detection they are
what the teacher's tokens would take, which are not stored.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from vkd.models.factory import create_model
from vkd.models.vidt.detector import pad_images
from vkd.store.layout import RowLayout
from vkd.teacher import TeacherOutput

DOCS = Path(__file__).parents[1] / "docs" / "stores.md"
IMAGES, FEATURES, CLASSES = 1_281_167, 3024, 1000  # ImageNet-1k, RegNetY-160
VIEWS = (1, 10, 50, 300)
FORMATS = {
    "float32, all logits": ("float32", 0),
    "float16, all logits": ("float16", 0),
    "float16, top 10": ("float16", 10),
    "int8, all logits": ("int8", 0),
    "int8, top 10": ("int8", 10),
}
PICTURES, EPOCHS = 118_287, 50  # COCO 2017, and the epochs of the paper
DETECTORS = ("vidt_nano", "vidt_tiny", "vidt_base")
# A picture of 640 x 480 with its short side at 800, and the largest that training makes.
SIZES = ((800, 1066), (800, 1333))
SMALL = (192, 256)  # on which the shapes and the share of the body are found
_BEGIN, _END = "<!-- store_sizes.py: {} -->\n", "<!-- end -->\n"


def imagenet() -> str:
    """Return the table of ImageNet's stores, for mixed images."""
    outputs = TeacherOutput({"final_conv": torch.zeros(1, FEATURES)}, torch.zeros(1, CLASSES))
    heads = [f"{views} view{'s' * (views > 1)}" for views in VIEWS]
    lines = [f"| format | bytes a row | {' | '.join(heads)} |", "| --- " * (len(VIEWS) + 2) + "|"]
    for name, (dtype, top_k) in FORMATS.items():
        layout = RowLayout.of(outputs, dtype, top_k)
        row = layout.row_bytes(layout.encoded(outputs))
        sizes = [f"{row * views * (IMAGES - IMAGES % 2) / 1e9:,.0f} GB" for views in VIEWS]
        lines.append(f"| {name} | {row:,} | {' | '.join(sizes)} |")
    return "\n".join(lines) + "\n"


class TokenSizes(NamedTuple):
    """The ``strides`` of a detector's patch maps, its detection ``tokens`` over all layers that are
    compared, the ``dim`` of both, and the share that its ``body`` takes of the
    multiply-adds of its linear layers and convolutions."""

    strides: list[int]
    tokens: int
    dim: int
    body: float


@torch.no_grad()
def token_sizes(name: str) -> TokenSizes:
    """Return a detector's sizes, found with a small image."""
    model = create_model(name).eval().requires_grad_(False)
    images, mask = pad_images(torch.zeros(1, 3, *SMALL))
    tokens = model(images, mask, with_tokens=True)["tokens"]
    strides = [round(SMALL[0] / map_.shape[2]) for map_ in tokens.patches]
    for stride, map_ in zip(strides, tokens.patches, strict=True):
        assert tuple(map_.shape[2:]) == tuple(math.ceil(side / stride) for side in SMALL)
    count = tokens.body.shape[1] + tokens.neck.shape[0] * tokens.neck.shape[2]
    whole = _work(lambda: model(images, mask, with_tokens=True))
    body = _work(lambda: model.backbone(images, mask)) / whole
    return TokenSizes(strides, count, tokens.body.shape[2], body)


def _work(run: Callable[[], Any]) -> int:
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def coco() -> str:
    """Return the table of the tokens that stores of detectors would hold, in float16."""
    lines = [
        "| teacher | picture | patch tokens | detection tokens | one view of COCO | "
        f"{EPOCHS} views | detection tokens alone, {EPOCHS} views | body's share of the work |",
        "| --- " * 8 + "|",
    ]
    for name in DETECTORS:
        found = token_sizes(name)
        for height, width in SIZES:
            places = sum(math.ceil(height / s) * math.ceil(width / s) for s in found.strides)
            patches, tokens = (2 * found.dim * count for count in (places, found.tokens))
            view = (patches + tokens) * PICTURES
            lines.append(
                f"| `{name}` | {height} x {width} | {patches / 1e6:.1f} MB | "
                f"{tokens / 1e6:.2f} MB | {view / 1e12:.1f} TB | {view * EPOCHS / 1e12:.0f} TB | "
                f"{tokens * PICTURES * EPOCHS / 1e12:.1f} TB | {found.body:.0%} |"
            )
    return "\n".join(lines) + "\n"


def tables() -> dict[str, str]:
    """Return the tables by name."""
    return {"ImageNet": imagenet(), "COCO": coco()}


def with_tables(text: str, found: dict[str, str]) -> str:
    """Return a page with the tables in their places."""
    for name, table in found.items():
        before, begin, rest = text.partition(_BEGIN.format(name))
        _, end, after = rest.partition(_END)
        if not (begin and end):
            raise RuntimeError(f"The page has no place for the table {name}.")
        text = before + begin + table + end + after
    return text


def main() -> None:
    """Print the tables and write them into the page."""
    found = tables()
    print("\n".join(found.values()))
    DOCS.write_text(with_tables(DOCS.read_text(), found))


if __name__ == "__main__":
    main()
