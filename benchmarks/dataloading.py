"""Pictures a second and core: from class folders, shards and Parquet, with several decoders.

    python benchmarks/dataloading.py [--quick]

In seconds of one processor, on one thread, from files that the system has in memory. The baseline
of each ratio, in the same run and alternating, is Pillow's decoder and resize, as timm and the
paper's code use them. Training draws the paper's random crop of 224 pixels and mirrors half of
them; evaluation resizes to 256 and takes the centre. Differences are of the pixels that a network
gets, in levels of 255, from the same random numbers.

The pictures are made of the photographs that scikit-learn and matplotlib bring: of 500 x 375 and
about 110 kB each, as ImageNet's are on average, and of 4000 x 3000, as a phone's. ``simplejpeg`` is
measured where it is installed.
"""

import argparse
import io
import json
import tarfile
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from statistics import mean, median
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms import v2

from vkd.data import crops
from vkd.data.crops import WholeResized
from vkd.data.photographs import open_source
from vkd.data.pictures import open_picture, opened_picture
from vkd.data.reader import PictureReader
from vkd.data.sources import PhotographSource
from vkd.data.transforms import (
    IMAGENET,
    evaluation_transform,
    normalised,
    training_changes,
    training_crop,
    training_transform,
)
from vkd.reporting.environment import environment

RESULTS = Path(__file__).parent / "results"
BASELINE = "Pillow"
LAYOUTS = {"folder": "class folders", "wds": "WebDataset", "hfds": "Parquet"}
KINDS = {"average": ((500, 375), 93, 48), "phone": ((4000, 3000), 90, 6)}
Source = Path | io.BytesIO
Prepare = Callable[[Source], Tensor]


def photographs() -> list[Image.Image]:
    """Return the photographs that scikit-learn and matplotlib bring."""
    files = []
    for package, folder in (("sklearn", "datasets/images"), ("matplotlib", "mpl-data/sample_data")):
        spec = find_spec(package)
        assert spec is not None
        assert spec.origin is not None
        files += sorted((Path(spec.origin).parent / folder).glob("*.jpg"))
    return [Image.open(file).convert("RGB") for file in files]


def made_pictures(kind: str, count: int) -> list[bytes]:
    """Return JPEG files of parts of photographs, with a camera's noise where they are enlarged."""
    (width, height), quality, _ = KINDS[kind]
    random, originals = np.random.default_rng(0), photographs()
    files = []
    for index in range(count):
        original = originals[index % len(originals)]
        side = int(min(original.size) * random.uniform(0.7, 1.0))
        shorter = side * height // width
        left = int(random.uniform(0, original.width - side))
        top = int(random.uniform(0, original.height - shorter))
        part = original.crop((left, top, left + side, top + shorter))
        pixels = np.asarray(part.resize((width, height), Image.Resampling.LANCZOS), np.float32)
        pixels = pixels + random.normal(0, 5, (height, width, 1)).astype(np.float32)
        stream = io.BytesIO()
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(stream, "JPEG", quality=quality)
        files.append(stream.getvalue())
    return files


def write_layouts(root: Path, files: list[bytes]) -> dict[str, PictureReader]:
    """Write pictures as class folders, a shard and a Parquet file; return their readers."""
    import datasets

    datasets.disable_progress_bars()
    labels = [index % 2 for index in range(len(files))]
    for split in ("train", "val"):
        for name in ("wds", "hfds"):
            (root / name).mkdir(exist_ok=True)
        with tarfile.open(root / "wds" / f"{split}-0.tar", "w") as tar:
            for index, (content, label) in enumerate(zip(files, labels, strict=True)):
                folder = root / "folder" / split / str(label)
                folder.mkdir(parents=True, exist_ok=True)
                (folder / f"{index:04d}.jpg").write_bytes(content)
                for suffix, entry in ((".jpg", content), (".cls", str(label).encode())):
                    member = tarfile.TarInfo(f"{index:04d}{suffix}")
                    member.size = len(entry)
                    tar.addfile(member, io.BytesIO(entry))
        features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])}
        rows = {"image": [{"bytes": f, "path": None} for f in files], "label": labels}
        table = datasets.Dataset.from_dict(rows, features=datasets.Features(features))
        table.to_parquet(root / "hfds" / f"{split}-00000-of-00001.parquet")
    found = {}
    for layout in LAYOUTS:
        found[layout] = open_source(PhotographSource(layout, str(root / layout))).readers["train"]
    return found


def content_of(source: Source) -> bytes:
    """Return the bytes of a picture's file."""
    return source.read_bytes() if isinstance(source, Path) else source.getvalue()


def by_torchvision(source: Source) -> Tensor:
    """Return the pixels (3, H, W) that torchvision decodes."""
    content = torch.frombuffer(bytearray(content_of(source)), dtype=torch.uint8)
    return decode_image(content, ImageReadMode.RGB)


def by_simplejpeg(source: Source) -> Tensor:
    """Return the pixels (3, H, W) that simplejpeg decodes."""
    import simplejpeg

    return torch.from_numpy(simplejpeg.decode_jpeg(content_of(source))).permute(2, 0, 1)


def on_tensors(decode: Callable[[Source], Tensor], first: list[v2.Transform]) -> Prepare:
    """Return a decoder that makes tensors, with transforms of tensors."""
    steps = v2.Compose([*first, *normalised(IMAGENET)[1:]])
    return lambda source: steps(tv_tensors.Image(decode(source)))


def cropped(crop: crops.Crop, changes: v2.Transform, processors: tuple[str, ...]) -> Prepare:
    """Return our crops of pictures that are not decoded yet, resized by torch on ``processors``."""

    def prepare(source: Source) -> Tensor:
        with (
            patch.object(crops, "_FAST_PROCESSORS", processors),
            opened_picture(source) as picture,
        ):
            return changes(crop(picture))

    return prepare


def ways(is_training: bool) -> dict[str, Prepare]:
    """Return each way from a picture's file to a network's input, by name."""
    bicubic = v2.InterpolationMode.BICUBIC
    if is_training:
        whole = training_transform(IMAGENET)
        crop, changes = training_crop(IMAGENET), training_changes(IMAGENET)
        first: list[v2.Transform] = [
            v2.RandomResizedCrop(224, interpolation=bicubic),
            v2.RandomHorizontalFlip(),
        ]
    else:
        whole = evaluation_transform(IMAGENET)
        crop = WholeResized(256, "bicubic")
        changes = v2.Compose([v2.CenterCrop(224), *normalised(IMAGENET)])
        first = [v2.Resize(256, interpolation=bicubic), v2.CenterCrop(224)]
    found: dict[str, Prepare] = {
        BASELINE: lambda source: whole(open_picture(source)),
        "Pillow's draft": cropped(crop, changes, ()),
        "Pillow's draft, torch's resize": cropped(crop, changes, ("AVX2", "AVX512")),
        "torchvision, torch's resize": on_tensors(by_torchvision, first),
    }
    if find_spec("simplejpeg"):
        found["simplejpeg, torch's resize"] = on_tensors(by_simplejpeg, first)
    return found


def speeds(reader: PictureReader, prepared: dict[str, Prepare], rounds: int) -> dict[str, float]:
    """Return the pictures a second of each way, called in turns."""
    times: dict[str, list[float]] = {name: [] for name in prepared}
    for turn in range(rounds + 1):
        for name, prepare in prepared.items():
            torch.manual_seed(turn)
            began = time.process_time()
            for index in range(len(reader)):
                prepare(reader[index][0])
            if turn:  # the first one warms up
                times[name].append(time.process_time() - began)
    return {name: len(reader) / median(every) for name, every in times.items()}


def differences(reader: PictureReader, prepared: dict[str, Prepare]) -> dict[str, dict[str, float]]:
    """Return how far each way's pixels are from the baseline's, in levels of 255.

    ``mean`` over all pictures, ``worst`` mean of a picture, and ``most`` of a pixel.
    """
    std = torch.tensor(IMAGENET.std)[:, None, None]
    found = {}
    for name, prepare in prepared.items():
        means, most = [], 0.0
        for index in range(len(reader)):
            images = []
            for way in (prepare, prepared[BASELINE]):
                torch.manual_seed(index)
                images.append(way(reader[index][0]) * std * 255)
            levels = (images[0] - images[1]).abs()
            means.append(levels.mean().item())
            most = max(most, levels.max().item())
        found[name] = {"mean": mean(means), "worst": max(means), "most": most}
    return found


def measure(kind: str, is_quick: bool) -> dict[str, dict[str, dict[str, Any]]]:
    """Return speeds and differences by transform and way, for pictures of one kind."""
    count = 4 if is_quick else KINDS[kind][2]
    found: dict[str, dict[str, dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as name:
        readers = write_layouts(Path(name), made_pictures(kind, count))
        for transform in ("training", "evaluation"):
            prepared = ways(transform == "training")
            away = differences(readers["folder"], prepared)
            rows: dict[str, dict[str, Any]] = {way: {"difference": away[way]} for way in prepared}
            for layout, reader in readers.items():
                for way, speed in speeds(reader, prepared, 1 if is_quick else 5).items():
                    rows[way][layout] = speed
            found[transform] = rows
    return found


def table(found: dict[str, Any]) -> str:
    """Return all of it as Markdown."""
    told = found["environment"]
    lines = [f"{told['hardware']}, of which one is used; torch {told['torch']}, {told['date']}."]
    lines.append("Pictures a second and core (and times the baseline's); pixels in levels of 255.")
    for kind, transforms in found["pictures"].items():
        (width, height), *_ = KINDS[kind]
        for transform, rows in transforms.items():
            lines += ["", f"### {transform.capitalize()}, {width} x {height}", ""]
            lines.append(f"| decoder | {' | '.join(LAYOUTS.values())} | mean | worst | most |")
            lines.append("|---" * (len(LAYOUTS) + 4) + "|")
            for way, row in rows.items():
                cells = [
                    f"{row[layout]:.0f} ({row[layout] / rows[BASELINE][layout]:.2f})"
                    for layout in LAYOUTS
                ]
                away = row["difference"]
                cells += [f"{away[part]:.2f}" for part in ("mean", "worst")]
                lines.append(f"| {way} | {' | '.join(cells)} | {away['most']:.0f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure each kind of pictures, print the table and write it and all numbers."""
    parser = argparse.ArgumentParser(description="Pictures a second and core.")
    parser.add_argument("--quick", action="store_true", help="few pictures, and nothing written")
    is_quick = parser.parse_args().quick
    torch.set_num_threads(1)
    found = {
        "environment": environment(),
        "pictures": {kind: measure(kind, is_quick) for kind in KINDS},
    }
    print(table(found))
    if not is_quick:
        (RESULTS / "dataloading.json").write_text(json.dumps(found, indent=1) + "\n")
        (RESULTS / "dataloading.md").write_text(table(found))


if __name__ == "__main__":
    main()
