"""New files that are there whole or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from vkd.errors import RunError, UserError, shortened


def check_new(target: Path) -> None:
    """Raise ``UserError`` if a file is there already, or cannot be."""
    try:
        is_taken = target.exists()
    except OSError as error:
        raise _impossible(target, error) from None
    if is_taken:
        raise UserError(f"OUT: {shortened(target, 200)} exists already; name a new file.")


def _impossible(target: Path, error: OSError) -> UserError:
    is_below_file = isinstance(error, FileExistsError | NotADirectoryError)
    reason = "its folder is a file" if is_below_file else error.strerror
    return UserError(f"OUT: {shortened(target, 150)} cannot be made: {reason}.")


@contextmanager
def written_whole(*targets: Path) -> Iterator[list[Path]]:
    """Yield a file to write for each target; they become the targets when all are written.

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
    partial = [target.with_name(f"{target.stem}.partial{target.suffix}") for target in targets]
    try:
        yield partial
        for file, target in zip(partial, targets, strict=True):
            file.replace(target)
    except (OSError, SafetensorError) as error:
        raise RunError(
            f"{shortened(targets[0], 150)} could not be written: {shortened(error, 100)}."
        ) from None
    finally:
        for file in partial:
            file.unlink(missing_ok=True)
