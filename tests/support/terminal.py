"""Talking with a command at a terminal of its own."""

import os
import pty
import select
import signal
import sys
import time

from support.commands import ENVIRONMENT


def talk(arguments, answers, cwd, limit=120):
    """Run ``vkd`` at a terminal and answer each question; returns what is shown and the exit code.

    Args:
        arguments: of the command.
        answers: what is typed, one after another, each when a line ends in ``: ``.
        cwd: where it runs.
        limit: seconds to wait at most.
    """
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(cwd)
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # ignored by what shells run in the background
        command = [sys.executable, "-m", "vkd", *map(str, arguments)]
        os.execve(sys.executable, command, ENVIRONMENT | {"TERM": "dumb"})
    shown, left, began, asked = b"", list(answers), time.monotonic(), 0
    while time.monotonic() - began < limit:
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                part = os.read(terminal, 4096)
            except OSError:  # the other end is closed
                break
            shown += part
        if left and len(shown) > asked and shown.endswith(b": "):
            time.sleep(0.3)  # as after a prompt the terminal's mode may still change
            os.write(terminal, left.pop(0).encode())
            asked = len(shown)
    else:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    os.close(terminal)
    return shown.decode().replace("\r\n", "\n"), os.waitstatus_to_exitcode(status)
