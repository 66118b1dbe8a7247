"""Small pictures whose grey value tells which they are, and sources of them, without opening."""

import io
import tarfile
from pathlib import Path

from PIL import Image

from vkd.data.photographs import open_source
from vkd.data.sources import PhotographSource


def write_picture(file, grey=0):
    """Write a picture of one grey value."""
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (grey,) * 3).save(file)


def picture_bytes(grey=0):
    """A picture of one grey value as a PNG file's bytes."""
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), (grey,) * 3).save(stream, "PNG")
    return stream.getvalue()


def write_classes(root, split="train", classes=("cat", "dog"), count=4, inner=""):
    """Write SPLIT/CLASS/INNER/i.png; the grey value is the class's place times 50 plus i."""
    for place, name in enumerate(classes):
        for i in range(count):
            write_picture(Path(root) / split / name / inner / f"{i}.png", 50 * place + i)


def write_shard(file, entries):
    """Write a tar file of (name, bytes)."""
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w") as tar:
        for name, content in entries:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def opened(path, dataset="folder", **fields):
    """The opened source."""
    return open_source(PhotographSource(dataset, str(path), **fields))


def named(reader):
    """The class of each picture by the reader's file name."""
    return {reader.filename(i): reader.classes[reader[i][1]] for i in range(len(reader))}
