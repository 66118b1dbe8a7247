"""Folders that the workers of one test run make once and all read."""

import os

from filelock import FileLock


def shared_folder(tmp_path_factory, name, make):
    """Return a folder that ``make`` fills, by whichever worker needs it first.

    Args:
        tmp_path_factory: pytest's.
        name: of the folder.
        make: called with its path, where it does not exist yet.
    """
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # pytest-xdist gives each worker a folder of its own in here
    place = base / "shared" / name
    place.mkdir(parents=True, exist_ok=True)
    with FileLock(place / "lock"):
        if not (place / "done").exists():
            make(place / "run")
            (place / "done").touch()
    return place / "run"
