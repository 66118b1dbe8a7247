"""A process that is killed before each file event of a piece of work, one after another.

Run as a script with Python code: ``work(folder)`` does the work, and ``check(folder)`` raises if
what is found afterwards is wrong. Before each kill ``prepare(folder)`` fills a new folder.
"""

import os
import signal
import sys
import tempfile
from pathlib import Path

# Events by which a program changes files, or is about to.
_PREFIXES = ("open", "os.", "shutil.")


def killed_at(number, work, folder):
    """Do the work in a process that ends itself before so many events; whether it came to it."""
    process = os.fork()
    if not process:
        left = number

        def count(event, arguments):
            nonlocal left
            if event.startswith(_PREFIXES) and any(str(folder) in str(a) for a in arguments):
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        work(folder)
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(process, 0)[1])


def main(code):
    """Kill until the work comes to its end, and print how many kills there were."""
    names = {}
    exec(code, names)
    number = 0
    while True:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            names["prepare"](folder)
            was_killed = killed_at(number, names["work"], folder)
            names["check"](folder)
            if not was_killed:
                break
            # What was left is of no harm to the next, which removes it.
            names["work"](folder)
            names["check"](folder)
            left = [path.name for path in folder.rglob("*") if ".partial" in path.name]
            assert not left, f"kill {number}: {left}"
        number += 1
    print(number)


if __name__ == "__main__":
    main(sys.argv[1])
