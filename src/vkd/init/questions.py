"""What a person is asked for at a terminal."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from rich.console import Console
from rich.prompt import Prompt

from vkd.errors import FieldError, UserError

Answer = TypeVar("Answer")


class Questions:
    """Asks on standard error, again and again until an answer will do."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False)

    def ask(self, text: str, accept: Callable[[str], Answer], default: str = "") -> Answer:
        """Return what ``accept`` makes of an answer.

        Args:
            text: the question.
            accept: raises ``UserError`` with the reason for an answer that will not do.
            default: the answer of an empty line; empty for none.

        Raises:
            UserError: if there are no more answers.
        """
        while True:
            try:
                said = Prompt.ask(
                    text, console=self._console, default=default, show_default=bool(default)
                )
            except EOFError:
                raise UserError(f"There was no answer to: {text}.") from None
            try:
                return accept(said.strip())
            except UserError as error:
                reason = error.text if isinstance(error, FieldError) else str(error)
                self._console.print(f"  {reason.removeprefix(': ')}", markup=False, soft_wrap=True)

    def choose(self, text: str, choices: Sequence[str]) -> str:
        """Return one of some choices; the first is the default."""
        return Prompt.ask(text, console=self._console, choices=list(choices), default=choices[0])
