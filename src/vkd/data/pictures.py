"""Opening picture files: the one place where a file or its bytes become pixels."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, cached_property
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError
from PIL.ExifTags import Base

from vkd.data.picture_limits import MOST_PIXELS as MOST_PIXELS
from vkd.data.picture_limits import check_limits
from vkd.errors import UserError

# Pillow knows these by name only, or by running a program (Ghostscript), which no folder may.
_NO_PICTURES = {"BUFR", "EPS", "FITS", "GRIB", "HDF5", "IPTC", "MPEG", "WMF"}
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_PREMULTIPLIED = {"La": "LA", "RGBa": "RGBA"}
_pillow_limit = threading.Lock()
_said: list[str] = []
_log = logging.getLogger("vkd")


@cache
def picture_formats() -> tuple[str, ...]:
    """Return the names of the formats that are read, as Pillow has them."""
    Image.init()
    return tuple(sorted(Image.OPEN.keys() - _NO_PICTURES))


@cache
def picture_suffixes() -> frozenset[str]:
    """Return the suffixes of picture files, in lower case and with their dot."""
    formats = picture_formats()
    return frozenset(
        suffix for suffix, name in Image.registered_extensions().items() if name in formats
    )


class OpenedPicture:
    """A picture whose header is read, and whose pixels are decoded when they are asked for.

    Args:
        image: as Pillow opened it.
        mode: RGB or L, of what is decoded.
        name: for messages.

    Attributes:
        shrinks: by what it can be shrunk while it is decoded: 2, 4 and 8 for a JPEG picture of
            colours or greys; nothing for others.
    """

    def __init__(self, image: Image.Image, mode: str, name: str) -> None:
        self._image, self._mode, self._name = image, mode, name
        self.shrinks: tuple[int, ...] = ()
        if image.format in ("JPEG", "MPO") and image.mode in ("RGB", "L"):
            is_upright = _orientation(image) == 1
            # What is turned begins at its other end, where a pixel must not be cut.
            self.shrinks = tuple(
                s for s in (2, 4, 8) if is_upright or not any(side % s for side in image.size)
            )

    @cached_property
    def size(self) -> tuple[int, int]:
        """(width, height) as viewers show it."""
        if not self.shrinks:
            return self._whole.size
        width, height = self._image.size
        return (height, width) if _orientation(self._image) >= 5 else (width, height)

    def decoded(self, shrink: int = 1) -> Image.Image:
        """Return the whole picture as viewers show it; see ``open_picture``.

        Args:
            shrink: 1, or one of ``shrinks``: pixel x of the result then covers the picture's from
                ``shrink * x`` on, and the last one may go beyond the edge. Afterwards there is no
                other size of it.
        """
        if shrink > 1:
            width, height = self._image.size
            self._image.draft(self._image.mode, (width // shrink, height // shrink))
        return self._whole

    @cached_property
    def _whole(self) -> Image.Image:
        self._image.load()
        # A conversion copies, even to the same mode.
        is_ready = bool(self.shrinks) and self._image.mode == self._mode
        image = self._image if is_ready else _converted(self._image, self._mode, self._name)
        return _turned(image, _orientation(self._image))


@contextmanager
def opened_picture(
    source: Path | BinaryIO, mode: str = "RGB", name: str = ""
) -> Iterator[OpenedPicture]:
    """Open a picture and read its header; all as in ``open_picture``.

    Raises:
        UserError: also for whatever goes wrong while it is open.
    """
    name = name or str(source)
    with _decoding(source, name), _opened(source) as image:
        yield OpenedPicture(image, mode, name)


def open_picture(source: Path | BinaryIO, mode: str = "RGB", name: str = "") -> Image.Image:
    """Return a picture as viewers show it.

    It is turned as its EXIF orientation says. Of an animation it is the first frame. Transparency
    is dropped. Pixels of 16 bits are scaled to 8; those of 32 bits, whose range no file names,
    by the smallest of 255, 65,535 and their own range that holds them, floating-point ones also
    from 0..1, which is said once.

    Args:
        source: a file, or an opened one.
        mode: RGB or L.
        name: of an opened file, for messages.

    Raises:
        UserError: if there is no such file, or it is no readable picture of at most
            ``MOST_PIXELS``.
    """
    with opened_picture(source, mode, name) as picture:
        return picture.decoded()


def picture_size(source: Path | BinaryIO, name: str = "") -> tuple[int, int]:
    """Return (width, height) of a picture as ``open_picture`` gives it, from its header alone.

    Raises:
        UserError: as ``open_picture``, for what the header shows.
    """
    with _decoding(source, name or str(source)), _opened(source) as image:
        # Pillow turns TIFF by itself; for EXIF behind the pixels of PNG it would decode these.
        is_known = image.format not in ("PNG", "TIFF") or "exif" in image.info
        is_turned = is_known and _orientation(image) >= 5
        return (image.height, image.width) if is_turned else image.size


def open_small(source: Path | BinaryIO, most: int, name: str = "") -> Image.Image:
    """Return a picture of at most ``most`` pixels, in greys or colours; see ``open_picture``.

    Raises:
        UserError: also for a larger one, which is not decoded.
    """
    name = name or str(source)
    with _decoding(source, name), _opened(source) as image:
        if image.width * image.height > most:
            raise UserError(
                f"{name} has {image.width} x {image.height} pixels, more than the {most:,} that "
                "are shown."
            )
        mode = "L" if image.mode in ("1", "L") else "RGB"
        return OpenedPicture(image, mode, name).decoded()


@contextmanager
def _decoding(source: Path | BinaryIO, name: str) -> Iterator[None]:
    """Turn whatever goes wrong into a ``UserError`` that names the file."""
    if isinstance(source, Path):
        _check_file(source)
    try:
        yield
    except UserError:
        raise
    except UnidentifiedImageError:
        raise UserError(f"{name} is not an image.") from None
    # Damaged files make Pillow's plugins raise anything, from struct.error to MemoryError.
    except Exception as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise UserError(f"{name} is not an image that can be read: {reason}.") from None


def _check_file(file: Path) -> None:
    try:
        is_there, is_regular = file.exists(), file.is_file()
        is_empty = is_regular and not file.stat().st_size
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}.") from None
    if file.is_symlink() and not is_there:
        raise UserError(f"{file} is a link to nothing.")
    if not is_there:
        raise UserError(f"There is no image {file}.")
    if not is_regular:  # a pipe would wait for ever
        raise UserError(f"{file} is not an image but {'a folder' if file.is_dir() else 'no file'}.")
    if is_empty:
        raise UserError(f"{file} is not an image: it is empty.")


def _opened(source: Path | BinaryIO) -> Image.Image:
    # Pillow's own limit refuses scans and mosaics; ours takes its place while a file is opened.
    with _pillow_limit:
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            image = Image.open(source, formats=picture_formats())
        finally:
            Image.MAX_IMAGE_PIXELS = before
    check_limits(image)
    return image


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(Base.Orientation, 1))
    # Metadata that is damaged says nothing of the pixels.
    except Exception:
        return 1


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    # Not ImageOps.exif_transpose, which also rewrites the metadata and fails on damaged ones.
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


def _converted(image: Image.Image, mode: str, name: str) -> Image.Image:
    if image.mode.startswith("I;16"):
        image = _grey(image, 65535)
    elif image.mode in ("I", "F"):
        image = _scaled(image, name)
    elif image.mode == "LAB":
        lab = ImageCms.createProfile("LAB")
        converted = ImageCms.profileToProfile(
            image, lab, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
        assert converted is not None
        image = converted
    elif image.mode in _PREMULTIPLIED:
        image = image.convert(_PREMULTIPLIED[image.mode])
    elif image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    if image.mode in ("HSV", "PA", "YCbCr"):  # which have no direct way to grey
        image = image.convert("RGB")
    return image.convert(mode)


def _grey(image: Image.Image, white: float, black: float = 0.0) -> Image.Image:
    values = (np.asarray(image).astype(np.float64) - black) / (white - black)
    return Image.fromarray((np.nan_to_num(values).clip(0, 1) * 255).round().astype(np.uint8))


def _scaled(image: Image.Image, name: str) -> Image.Image:
    """A picture of 32-bit or floating-point pixels, by the range that its values suggest."""
    values = np.asarray(image).astype(np.float64)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    usual = [1.0, 255.0, 65535.0] if image.mode == "F" else [255.0, 65535.0]
    white = next((limit for limit in usual if low >= 0 and high <= limit), None)
    black, white = (0.0, white) if white is not None else (low, high)
    _say_once(
        f"{name} has pixels of 32 bits; {black:g} to {white:g} became black to white, and others "
        "like it are scaled likewise."
    )
    return _grey(image, white, black) if white > black else Image.new("L", image.size)


def _say_once(message: str) -> None:
    if not _said:
        _said.append(message)
        _log.warning("%s", message)
