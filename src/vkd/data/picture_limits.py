"""How large a picture may be, and how long it may take to decode: told by its header."""

from PIL import Image, ImageFile

# Half a gigabyte of grey pixels: above the largest scans and mosaics, below what ends a machine.
MOST_PIXELS = 500_000_000
# A progressive JPEG says every pixel again in each of its scans, of which cameras and tools write
# about ten; a short file can say thousands, which take hours.
MOST_SCANNED_PIXELS = 5_000_000_000
_SCAN = b"\xff\xda"


def check_limits(image: Image.Image) -> None:
    """Close a picture that is larger than these limits.

    Args:
        image: opened by Pillow, and not decoded yet.

    Raises:
        ValueError: with the size that its header claims, and the limit.
    """
    size = f"{image.width} x {image.height} pixels"
    if image.width * image.height > MOST_PIXELS:
        image.close()
        raise ValueError(f"it has {size}, more than the {MOST_PIXELS:,} that are read")
    scans = _scans(image) if image.info.get("progressive") else 0
    if scans * image.width * image.height > MOST_SCANNED_PIXELS:
        image.close()
        raise ValueError(
            f"it has {scans:,} scans of {size}, more than the {MOST_SCANNED_PIXELS:,} that are "
            "decoded"
        )


def _scans(image: Image.Image) -> int:
    """How often a progressive JPEG says its pixels."""
    assert isinstance(image, ImageFile.ImageFile)
    assert image.fp is not None
    place = image.fp.tell()
    image.fp.seek(0)
    # Within the pixels no byte 255 is followed by another than 0.
    count = image.fp.read().count(_SCAN)
    image.fp.seek(place)
    return count
