"""Pictures that cannot be read: named, counted, and skipped up to a limit."""

import logging
from collections.abc import Callable
from typing import TypeVar

import torch

from vkd.errors import RunError, UserError

T = TypeVar("T")

_log = logging.getLogger("vkd")


class Unreadable:
    """The pictures of a data set that were found unreadable.

    The processes that load data share it, so that a picture is named and counted once.

    Args:
        pictures: of the data set.
        most: to skip before ``RunError``.
        source: of the data set, for messages.
    """

    def __init__(self, pictures: int, most: int, source: str) -> None:
        self.most, self.source = most, source
        self._found = torch.zeros(pictures, dtype=torch.bool).share_memory_()

    def __contains__(self, index: int) -> bool:
        return bool(self._found[index])

    @property
    def count(self) -> int:
        """Pictures found so far."""
        return int(self._found.sum())

    def readable(
        self, index: int, open_one: Callable[[int], T], substitute: bool
    ) -> tuple[int, T | None]:
        """Return a picture that can be read, and its place.

        Args:
            index: of the picture that is asked for.
            open_one: opens the picture of a place, or raises ``UserError``.
            substitute: whether the next readable picture takes the place of an unreadable one;
                otherwise that is None.

        Raises:
            RunError: if there are too many unreadable pictures, or no others.
        """
        for step in range(len(self._found) if substitute else 1):
            place = (index + step) % len(self._found)
            if place in self:
                continue
            try:
                return place, open_one(place)
            except UserError as error:
                self.add(place, str(error))
        if substitute:
            raise RunError(f"None of the {len(self._found)} images of {self.source} can be read.")
        return index, None

    def add(self, index: int, reason: str) -> None:
        """Note that the picture ``index`` cannot be read, for a ``reason`` that names its file.

        Raises:
            RunError: if these are more than ``most``.
        """
        if index in self:
            return
        self._found[index] = True
        _log.warning("skipped (%d): %s", self.count, reason)
        if self.count > self.most:
            raise RunError(
                f"{self.count} images cannot be read, more than max_corrupt = {self.most} "
                f"(--max-corrupt); the last: {reason}"
            )
