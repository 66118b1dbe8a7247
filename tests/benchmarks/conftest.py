"""Benchmarks are scripts, which find each other beside them."""

import sys
from importlib import import_module
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="session")
def benchmark():
    """Import a benchmark by its name."""

    def load(name):
        sys.path.insert(0, str(BENCHMARKS))
        try:
            return import_module(name)
        finally:
            sys.path.remove(str(BENCHMARKS))

    return load
