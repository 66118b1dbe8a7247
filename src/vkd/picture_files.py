"""Pictures as PNG files, written whole."""

from io import BytesIO
from pathlib import Path

from PIL import Image, PngImagePlugin

from vkd.files import write_whole


def save_png(picture: Image.Image, file: Path, texts: dict[str, str] | None = None) -> None:
    """Write a picture in one step, so that a reader never meets half of it.

    Args:
        picture: of any mode that PNG has.
        file: its folder is there.
        texts: what the file says of itself, by name.
    """
    told = PngImagePlugin.PngInfo()
    for name, text in (texts or {}).items():
        told.add_text(name, text)
    # Not into the file itself, as the encoder does not say why it cannot write.
    encoded = BytesIO()
    picture.save(encoded, "PNG", pnginfo=told)
    write_whole(file, encoded.getvalue())
