"""Pictures that cannot be read: named, counted, and skipped up to a limit."""

import logging

import torch

from vkd.errors import RunError

_log = logging.getLogger("vkd")


class Unreadable:
    """The pictures of a data set that were found unreadable.

    The processes that load data share it, so that a picture is named and counted once.

    Args:
        pictures: of the data set.
        most: to skip before ``RunError``.
    """

    def __init__(self, pictures: int, most: int) -> None:
        self.most = most
        self._found = torch.zeros(pictures, dtype=torch.bool).share_memory_()

    def __contains__(self, index: int) -> bool:
        return bool(self._found[index])

    @property
    def count(self) -> int:
        """Pictures found so far."""
        return int(self._found.sum())

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
