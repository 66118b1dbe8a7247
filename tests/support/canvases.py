"""Fewer canvases of digits, which are quicker to compose."""

from contextlib import contextmanager

from vkd.detection import canvases


@contextmanager
def few_canvases(train, validation, test):
    """Let the splits have so many canvases."""
    before = dict(canvases.SIZES)
    canvases.SIZES.update(train=train, validation=validation, test=test)
    canvases._compose_split.cache_clear()
    try:
        yield
    finally:
        canvases.SIZES.update(before)
        canvases._compose_split.cache_clear()
