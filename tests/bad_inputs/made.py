"""Small files that bad inputs are made of, without writing what they claim."""

import io
import json
import os
import struct
import tarfile
import zlib

import numpy as np
from PIL import Image


def picture(file, size=(8, 8), colour=99):
    """Write a grey picture, and the folders above it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, colour).save(file)


def text(name, content):
    """Return what writes a file with this text or these bytes."""

    def make(folder):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())

    return make


def pipe(name):
    """Return what makes a pipe, which no reader may wait for."""

    def make(folder):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(folder / name)

    return make


def as_folder(name):
    """Return what makes a folder."""
    return lambda folder: (folder / name).mkdir(parents=True)


def link(name, target):
    """Return what makes a link."""

    def make(folder):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(target)

    return make


def every(*steps):
    """Return what makes the files of several steps, in order."""

    def make(folder):
        for step in steps:
            step(folder)

    return make


def without(name):
    """Return what removes a file."""
    return lambda folder: (folder / name).unlink()


def in_place_of(name, make):
    """Return what makes something else of a file's name."""
    return every(without(name), make)


def as_json(name, content):
    """Return what writes JSON."""
    return text(name, json.dumps(content))


def chunk(kind, content):
    """A chunk of a PNG."""
    check = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + check


def png(width, height, *more, depth=1):
    """A grey PNG that claims a size, with further chunks before its few pixels."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(100)))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + pixels + chunk(b"IEND", b"")


def text_bomb():
    """A PNG of few bytes whose text would take 80 million."""
    return png(8, 8, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(80_000_000))))


def jpeg(**options):
    """A small JPEG."""
    buffer = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").resize((32, 32)).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def jpeg_of_size(width, height, scans=1):
    """A progressive JPEG that claims a size and repeats its last scan."""
    content = jpeg(progressive=True)
    place = content.index(b"\xff\xc2")
    content = content[: place + 5] + struct.pack(">HH", height, width) + content[place + 9 :]
    last = content.rindex(b"\xff\xda")
    return content[:last] + content[last:-2] * scans + content[-2:]


def gif_of_many_frames():
    """A GIF of two thousand frames."""
    frames = [Image.new("L", (8, 8), n % 256) for n in range(2000)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    return buffer.getvalue()


def tiff(width, height):
    """A TIFF that claims a size and holds no pixels."""
    tags = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8),
            (277, 3, 1), (278, 4, height), (279, 4, 1)]  # fmt: skip
    rows = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)) + rows + bytes(4)


def tar(*entries):
    """A tar file of (name, content), or of ``TarInfo`` without content."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as opened:
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                opened.addfile(entry)
                continue
            name, content = entry
            info = tarfile.TarInfo(name)
            info.size = len(content)
            opened.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def idx(shape, values=None, kind=8):
    """An IDX file; without values those that count up."""
    content = bytes(n % 10 for n in range(int(np.prod(shape)))) if values is None else values
    head = bytes([0, 0, kind, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
    return head + content


def nested(depth):
    """JSON of lists in lists."""
    return b"[" * depth + b"]" * depth
