"""Disks that are small or read-only, where this machine lets a test mount them."""

import subprocess
from contextlib import contextmanager

import pytest


@contextmanager
def mounted(folder, *commands):
    """Mount something on a folder by commands; skip the test where that is not allowed."""
    try:
        for command in commands:
            done = subprocess.run(["mount", *command, folder], capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], capture_output=True)


def small(folder, size):
    """A file system in memory of so many bytes."""
    return mounted(folder, ["-t", "tmpfs", "-o", f"size={size}", "tmpfs"])


def read_only(folder):
    """A folder whose files can be read and not written, whoever the user is."""
    return mounted(folder, ["--bind", folder], ["-o", "remount,bind,ro"])
