"""Reading files that users or runs have made."""

from pathlib import Path

from vkd.errors import UserError


def read_text(file: Path) -> str:
    """Return the text of a file in UTF-8, without a mark of byte order.

    Raises:
        UserError: if it is not there, no file, such as a pipe, which would wait for ever, or no
            text.
    """
    if file.exists() and not file.is_file():
        raise UserError(f"{file} cannot be read: it is no file.")
    try:
        return file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is no text in UTF-8: {str(error)[:80]}.") from None
