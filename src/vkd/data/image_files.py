"""Opening image files."""

from pathlib import Path

from PIL import Image, UnidentifiedImageError

from vkd.errors import UserError


def open_image(file: Path, mode: str = "RGB") -> Image.Image:
    """Return an image in one of Pillow's modes.

    Raises:
        UserError: if there is no such file, or it is not an image.
    """
    try:
        with Image.open(file) as image:
            return image.convert(mode)
    except FileNotFoundError:
        raise UserError(f"There is no image {file}.") from None
    except (UnidentifiedImageError, OSError, SyntaxError):
        raise UserError(f"{file} is not an image.") from None
