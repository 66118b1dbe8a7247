"""New files that are there whole or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from vkd.errors import RunError, UserError, shortened
from vkd.files import whole_files
from vkd.places import file_problem


def check_new(target: Path) -> None:
    """Raise ``UserError`` if a file is there already, or cannot be."""
    if problem := file_problem(target):
        raise UserError(f"OUT: {problem}")


def _impossible(target: Path, error: OSError) -> UserError:
    is_below_file = isinstance(error, FileExistsError | NotADirectoryError)
    reason = "its folder is a file" if is_below_file else error.strerror
    return UserError(f"OUT: {shortened(target, 150)} cannot be made: {reason}.")


@contextmanager
def written_whole(*targets: Path) -> Iterator[list[Path]]:
    """Yield a file to write for each new target in a folder; see ``whole_files``.

    Raises:
        UserError: if a target is there already, or cannot be.
        RunError: if they could not be written; then there is none.
    """
    for target in targets:
        check_new(target)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _impossible(target, error) from None
    try:
        with whole_files(targets) as places:
            yield places
    except (OSError, SafetensorError) as error:
        told = isinstance(error, OSError) and error.strerror
        raise RunError(
            f"{shortened(targets[0], 150)} could not be written: {shortened(told or error, 100)}."
        ) from None
