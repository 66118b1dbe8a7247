"""Errors that the command line turns into one sentence and an exit code."""

import errno
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches

_LONGEST_SENTENCE, _LONGEST_WORD = 300, 80
# What torch says where its writer of archives fails.
_TORCH_WRITER = re.compile("PytorchStreamWriter|inline_container")


class UserError(ValueError):
    """A user's mistake: a wrong argument, name, path or value (exit code 2)."""

    def for_command_line(self) -> str:
        """Return the message as the command line prints it."""
        return str(self)


class FieldError(UserError):
    """A wrong value of an argument that is a flag at the command line and a field of recipes.

    Args:
        field: its name.
        text: the rest of the sentence.
        place: where the value stands, for example a file and a line; empty where it was given as an
            argument or flag.
    """

    def __init__(self, field: str, text: str, place: str = "") -> None:
        sentence = field + text if text.startswith(":") else f"{field} {text}"
        super().__init__(f"{place}: {sentence}" if place else sentence)
        self.field, self.text, self.place = field, text, place

    def __reduce__(self) -> tuple[type["FieldError"], tuple[str, str, str]]:
        # Exceptions are pickled by their message alone, which would lose the field between
        # processes.
        return type(self), (self.field, self.text, self.place)

    def for_command_line(self) -> str:
        """Return the message with the flag in place of an argument."""
        if self.place:
            return str(self)
        return flag_of(self.field) + str(self).removeprefix(self.field)


class RunError(RuntimeError):
    """The command was right but could not be carried out (exit code 1)."""


class Stopped(KeyboardInterrupt):
    """A signal has ended a run, which has saved a checkpoint to go on from (exit code 75).

    Like Ctrl-C it passes through whatever handles the errors of a run.
    """

    EXIT_CODE = 75  # of sysexits.h, EX_TEMPFAIL: try again later


def impossible_name(error: Exception) -> UserError | None:
    """Return that no file can have a name, or hold a text, as a sentence; None if it is not so."""
    if isinstance(error, UnicodeEncodeError):  # bytes of a command line that are no text
        found = error.object[max(error.start - 40, 0) : error.end + 40]
        return UserError(
            f"{found!a} is no text in UTF-8, as names and words must be to be written."
        )
    if not isinstance(error, OSError) or error.errno not in (errno.ENAMETOOLONG, errno.ELOOP):
        return None
    name = shortened(error.filename or "A name", 150)
    return UserError(f"{name} is no name that a file can have: {error.strerror}.")


def refusal_of_the_system(error: Exception) -> RunError | None:
    """Return what the operating system refused, such as to write to a full disk, as a sentence.

    None for an error that is none of the system's. Writers that are not Python's (safetensors,
    torch) tell it in the text of errors of their own.
    """
    number = re.search(r"\(os error (\d+)\)", str(error))
    if isinstance(error, OSError):
        reason = error.strerror or str(error)[:120] or type(error).__name__
    elif number is not None:
        reason = os.strerror(int(number[1]))
    elif isinstance(error, RuntimeError) and _TORCH_WRITER.search(str(error)):
        reason = "is the disk full?"
    else:
        return None
    name = str(error.filename or "") if isinstance(error, OSError) else ""
    return RunError(f"{name[-150:] or 'A file'} could not be read or written: {reason}.")


def lack_of_memory(error: Exception) -> RunError | None:
    """Return that there is not enough memory as a sentence; None for another error.

    torch says so in the words of a RuntimeError alone.
    """
    words = ("allocate memory", "out of memory", "Storage size calculation overflowed")
    if not isinstance(error, MemoryError) and not any(word in str(error) for word in words):
        return None
    return RunError(
        f"There is not enough memory: {reason_of(error)}; use smaller numbers or images."
    )


def flag_of(field: str) -> str:
    """Return the flag of an argument or field."""
    return "--" + field.replace("_", "-")


def nearest(name: str, known: Iterable[str]) -> str:
    """Return '; did you mean X?' for the known name nearest to ``name``, or '.' if none is near."""
    # What is much longer than any name is near to none, and takes long to compare.
    close = get_close_matches(name[:_LONGEST_WORD], list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else "."


def reason_of(error: Exception) -> str:
    """Return the first line of what a library says went wrong, cut to fit a sentence."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:120].rstrip(". ")


def shortened(text: object, most: int) -> str:
    """Return a text with its middle left out where it is longer than ``most`` letters."""
    whole = str(text)
    half = (most - 3) // 2
    return whole if len(whole) <= most else f"{whole[:half]}...{whole[-half:]}"


@contextmanager
def as_user_error(field: str) -> Iterator[None]:
    """Turn a ValueError of the library below into a ``FieldError`` about an argument."""
    try:
        yield
    except UserError:
        raise
    except ValueError as error:
        raise FieldError(field, f": {error}") from error


def cut_to_sentence(sentence: str) -> str:
    """Return a sentence of at most 300 characters: longer ones lose the middle of long words first,
    as of a name of thousands of letters, and their end if that is not enough."""
    if len(sentence) <= _LONGEST_SENTENCE:
        return sentence
    half = _LONGEST_WORD // 2
    words = [
        word if len(word) <= _LONGEST_WORD else f"{word[:half]}...{word[-half:]}"
        for word in sentence.split(" ")
    ]
    short = " ".join(words)
    return short if len(short) <= _LONGEST_SENTENCE else short[: _LONGEST_SENTENCE - 3] + "..."
