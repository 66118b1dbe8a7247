"""Mutation tests of the core: does a test fail for each small change of the code?

    python scripts/mutation.py              # everything that is not known yet; interrupt at will
    python scripts/mutation.py store        # the modules whose names hold a word
    python scripts/mutation.py --report     # only write the tables

``scripts/mutation.toml`` names modules, their tests, and why mutants may survive. What was found is
kept in ``.mutation/``: a mutant that was killed stays so, a survivor is tried again when the tests
have changed. One process tests one mutant at a time: this process imports torch, a child collects
the tests and runs them once, and a grandchild of it for each mutant takes the changed code into the
functions that are there and runs the tests that reach them, until one fails. Where more than
functions changes, a child imports the package anew. mutmut and cosmic-ray would start pytest, and
with it torch, for each mutant, or leave out functions that have a decorator.
"""

import argparse
import gc
import hashlib
import importlib
import json
import os
import platform
import signal
import sys
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from datetime import date
from functools import _lru_cache_wrapper
from importlib.machinery import SourceFileLoader
from importlib.metadata import version
from pathlib import Path
from types import CodeType, FunctionType

import coverage
import hypothesis
import pytest
import torch
from mutants import Mutant, mutants_of

HERE = Path(__file__).parent
ROOT = HERE.parent
SOURCES, RESULTS = ROOT / "src", ROOT / "benchmarks/results/mutation"
KNOWN = ROOT / ".mutation"
OPTIONS = ["-o", "addopts=--import-mode=importlib", "-o", "timeout=0", "-m", "not slow"]
OPTIONS += ["-p", "no:terminal", "-p", "no:cacheprovider", "-p", "no:randomly"]
# Libraries that every import of the package needs; the package itself is imported in children.
LIBRARIES = ["accelerate", "matplotlib.pyplot", "safetensors.torch", "sklearn.metrics", "timm"]
LIBRARIES += ["torch._dynamo", "torchvision.transforms.v2", "torch.testing"]
SURVIVED = "survived"
FORKING = "two_processes"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("modules", nargs="*", help="words of the modules' names; all without one")
    parser.add_argument("--report", action="store_true", help="only write the tables")
    arguments = parser.parse_args()
    os.chdir(ROOT)
    settings = tomllib.loads((HERE / "mutation.toml").read_text())
    if not arguments.report:
        _prepare()
        for name, module in settings["modules"].items():
            if not arguments.modules or any(word in name for word in arguments.modules):
                _test(name, [*module["tests"]], settings["least_seconds"])
    _write(settings)


def _prepare() -> None:
    torch.set_num_threads(1)  # processes that fork have no other threads
    sys.path[:0] = [str(SOURCES), str(ROOT / "tests")]
    for library in LIBRARIES:
        importlib.import_module(library)
    hypothesis.settings.register_profile(
        "mutation", derandomize=True, database=None, deadline=None, print_blob=False
    )
    hypothesis.settings.load_profile("mutation")


def _test(name: str, tests: list[str], least_seconds: float) -> None:
    """Test the mutants of a module that are not known, and note what was found."""
    file = SOURCES / f"vkd/{name}.py"
    paths = [ROOT / test for test in tests if not test.startswith("-")]
    digest = _digest(*(path.read_text() for given in paths for path in _files(given)))
    journal = Journal(name)
    todo = [m for m in mutants_of(file) if not journal.knows(m, digest)]
    # In no order, so that what is known after an interruption is a sample of all.
    todo.sort(key=lambda mutant: _digest(mutant.source))
    print(f"{name}: {len(todo)} mutants to test", flush=True)

    def found(mutant: Mutant, outcome: str) -> None:
        journal.note(mutant, digest, outcome)
        if outcome == SURVIVED:
            print(f"  {mutant.place}: {mutant.change}", flush=True)

    swapped = [mutant for mutant in todo if mutant.swaps is not None]
    if swapped:
        plugin = Swapping(file, swapped, found, least_seconds)
        outcome = _in_child(lambda: _session(tests, plugin), None)
        if outcome.startswith("failed"):
            raise SystemExit(f"{name}: the tests must pass before the code is changed: {outcome}")
    journal = Journal(name)
    for mutant in todo:
        if not journal.knows(mutant, digest):
            found(mutant, _in_child(lambda m=mutant: _anew(name, m, tests), least_seconds * 6))


def _anew(name: str, mutant: Mutant, tests: list[str]) -> str:
    """Run tests on a package that is imported with the changed module."""
    sys.meta_path.insert(0, _Changed(f"vkd.{name.replace('/', '.')}", mutant.source))
    watch = Watch()
    code = pytest.main([*OPTIONS, "-x", *tests], plugins=[watch])
    return SURVIVED if code in (0, 5) else watch.failed or "its import"


class _Changed(SourceFileLoader):
    """Finds and loads one module from changed source."""

    def __init__(self, fullname: str, source: str) -> None:
        super().__init__(fullname, str(SOURCES / f"{fullname.replace('.', '/')}.py"))
        self.source = source

    def find_spec(self, fullname: str, path: object = None, target: object = None):  # type: ignore[no-untyped-def]
        if fullname != self.name:
            return None
        return importlib.util.spec_from_file_location(fullname, self.path, loader=self)

    def get_code(self, fullname: str) -> CodeType:
        return compile(self.source, self.path, "exec", dont_inherit=True)


class Watch:
    """Remembers the first test that failed."""

    failed = why = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed = self.failed or report.nodeid
            self.why = str(report.longrepr)


class Swapping(Watch):
    """Runs the tests once, to learn which reach what, and then some of them for each mutant."""

    def __init__(
        self, file: Path, mutants: list[Mutant], found: Callable[[Mutant, str], None], least: float
    ) -> None:
        self.file, self.mutants, self.found, self.least = file, mutants, found, least
        self.seconds: dict[str, float] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        reached = self._reached(session)
        if self.failed:
            return True
        everything = gc.get_objects()
        functions = [part for part in everything if isinstance(part, FunctionType)]
        own = [part for part in functions if part.__code__.co_filename == str(self.file)]
        self.caches = [part for part in everything if isinstance(part, _lru_cache_wrapper)
                       and part.__module__.startswith("vkd")]  # fmt: skip
        del everything
        gc.freeze()  # what is there is neither searched nor copied by those who are forked
        for mutant in self.mutants:
            names = set().union(*(reached(before) for before, _ in mutant.swaps))
            items = sorted(
                (item for item in session.items if item.nodeid in names),
                key=lambda item: self.seconds[item.nodeid],
            )
            limit = self.least + 5 * sum(self.seconds[item.nodeid] for item in items)
            run = lambda m=mutant, i=items: self._swapped(session, m, i, own)  # noqa: E731
            if items:  # others may run while the package is imported, and so stay unknown
                self.found(mutant, _in_child(run, limit))
        return True

    def _reached(self, session: pytest.Session) -> Callable[[CodeType], set[str]]:
        measured = coverage.Coverage(data_file=None, include=[str(self.file)], config_file=False)
        with _quiet(), measured.collect():
            for item, following in _with_next(session.items):
                measured.switch_context(item.nodeid)
                began = time.monotonic()
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                self.seconds[item.nodeid] = time.monotonic() - began
        by_line = measured.get_data().contexts_by_lineno(str(self.file))

        def reached(code: CodeType) -> set[str]:
            lines = {line for _, _, line in code.co_lines() if line and line > code.co_firstlineno}
            lines = lines or {code.co_firstlineno}
            found = {name for line in lines for name in by_line.get(line, [])} - {""}
            # What forked processes reach is not measured.
            return found | {name for name in self.seconds if FORKING in name}

        return reached

    def _swapped(
        self,
        session: pytest.Session,
        mutant: Mutant,
        items: list[pytest.Item],
        functions: list[FunctionType],
    ) -> str:
        for cache in self.caches:
            cache.cache_clear()
        if not _swap(mutant, functions):
            raise RuntimeError(f"{mutant.change}: its function was not found")
        for item, following in _with_next(items):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if self.failed:
                return self.failed
        return SURVIVED


def _swap(mutant: Mutant, functions: list[FunctionType]) -> bool:
    """Take changed code into the functions that hold the code before; whether there are such."""
    done = False
    for before, after in mutant.swaps or ():
        for function in functions:
            own = function.__code__
            if (own.co_qualname, own.co_firstlineno) == (before.co_qualname, before.co_firstlineno):
                function.__code__ = after
                done = True
    return done


def _session(tests: list[str], plugin: Swapping) -> str:
    code = int(pytest.main([*OPTIONS, *tests], plugins=[plugin]))
    if code or plugin.failed:
        return f"failed {code} {plugin.failed} {plugin.why}"
    return "passed"


def _in_child(work: Callable[[], str], limit: float | None) -> str:
    """What ``work`` returns in a process that is forked; the time where that goes beyond limit."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        if limit is not None:
            os.setsid()
        try:
            with _quiet() if limit is not None else redirect_stdout(sys.stdout):
                outcome = work()
        except BaseException as error:
            outcome = f"{type(error).__name__}: {error}"[:200]
        os.write(writing, outcome[-60000:].encode())
        os._exit(0)
    os.close(writing)
    began = time.monotonic()
    done = 0
    while not done:
        done, status = os.waitpid(child, os.WNOHANG if limit is not None else 0)
        if not done and time.monotonic() - began > limit:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            os.close(reading)
            return "time"
        if not done:
            time.sleep(0.005)
    with os.fdopen(reading) as told:
        os.set_blocking(told.fileno(), False)
        return told.read() or f"signal {status & 127}"


@contextmanager
def _quiet() -> Iterator[None]:
    with open(os.devnull, "w") as nothing, redirect_stdout(nothing), redirect_stderr(nothing):
        kept = os.dup(1), os.dup(2)
        try:
            os.dup2(nothing.fileno(), 1)
            os.dup2(nothing.fileno(), 2)
            yield
        finally:
            for number, place in enumerate(kept, 1):
                os.dup2(place, number)
                os.close(place)


def _with_next(items: list[pytest.Item]) -> Iterable[tuple[pytest.Item, pytest.Item | None]]:
    return zip(items, [*items[1:], None], strict=True)


class Journal:
    """What is known of a module's mutants, a line of JSON for each."""

    def __init__(self, name: str) -> None:
        KNOWN.mkdir(exist_ok=True)
        self.file = KNOWN / f"{name.replace('/', '.')}.jsonl"
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        self.entries = {entry["mutant"]: entry for entry in map(json.loads, lines)}

    def knows(self, mutant: Mutant, tests: str) -> bool:
        entry = self.entries.get(_digest(mutant.source))
        return bool(entry) and (entry["outcome"] != SURVIVED or entry["tests"] == tests)

    def outcome(self, mutant: Mutant) -> str | None:
        return self.entries.get(_digest(mutant.source), {}).get("outcome")

    def note(self, mutant: Mutant, tests: str, outcome: str) -> None:
        entry = {"mutant": _digest(mutant.source), "tests": tests, "outcome": outcome}
        with self.file.open("a") as file:
            file.write(json.dumps(entry | {"change": mutant.change}) + "\n")


def _write(settings: dict) -> None:
    """Write the tables of what is known of all modules."""
    rows, survivors, used = {}, [], set()
    for name in settings["modules"]:
        journal = Journal(name)
        outcomes = [(m, journal.outcome(m)) for m in mutants_of(SOURCES / f"vkd/{name}.py")]
        known = [(mutant, outcome) for mutant, outcome in outcomes if outcome]
        left = [mutant for mutant, outcome in known if outcome == SURVIVED]
        rows[name] = {
            "mutants": len(known),
            "killed": len(known) - len(left),
            "by_time": sum(outcome == "time" for _, outcome in known),
            "survived": len(left),
            "untested": len(outcomes) - len(known),
        }
        for mutant in left:
            reason = next(
                (
                    entry["reason"]
                    for entry in settings.get("survivors", [])
                    if entry["module"] in (name, "all")
                    and any(text in f"{mutant.place}: {mutant.change}" for text in entry["changes"])
                ),
                "",
            )
            used.add(reason)
            entry = {"module": name, "place": mutant.place, "change": mutant.change}
            survivors.append(entry | {"reason": reason})
    total = {key: sum(row[key] for row in rows.values()) for key in next(iter(rows.values()))}
    rows["all"] = total
    for row in rows.values():
        row["percent_killed"] = round(100 * row["killed"] / max(row["mutants"], 1), 1)
    names = ("coverage", "hypothesis", "mutmut", "pytest", "torch")
    facts = {
        "date": str(date.today()),
        "hardware": f"{os.cpu_count()} CPU cores ({platform.machine()}), no accelerator",
        "versions": {"python": platform.python_version()} | {name: version(name) for name in names},
        "left_out": "docstrings, annotations, decorators, and what only words a message: raise "
        "statements, calls of say and print, texts of several words",
        "modules": rows,
        "survivors": survivors,
    }
    RESULTS.with_suffix(".json").write_text(json.dumps(facts, indent=1) + "\n")
    RESULTS.with_suffix(".md").write_text(_page(facts))
    print(json.dumps(total))


def _page(facts: dict) -> str:
    lines = ["# Mutation tests of the core", ""]
    lines += [f"`python scripts/mutation.py`, {facts['date']}, {facts['hardware']}; "
              f"{', '.join(f'{k} {v}' for k, v in facts['versions'].items())}.", ""]  # fmt: skip
    lines += [f"Left out: {facts['left_out']}. A mutant that runs out of time is killed.", ""]
    lines += ["| module | mutants | killed | of these by time | survived | killed, % |"]
    lines += ["| --- | ---: | ---: | ---: | ---: | ---: |"]
    keys = ("mutants", "killed", "by_time", "survived", "percent_killed")
    for name, row in facts["modules"].items():
        lines += [f"| {name} | {' | '.join(str(row[key]) for key in keys)} |"]
    lines += ["", "## Survivors", ""]
    for entry in facts["survivors"]:
        reason = entry["reason"] or "not yet explained"
        change = entry["change"].replace("`", "'")
        lines += [f"- {entry['module']}, {entry['place']}: `{change}`: {reason}"]
    return "\n".join(lines) + "\n"


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


def _files(path: Path) -> list[Path]:
    return sorted(path.rglob("*.py")) if path.is_dir() else [path]


if __name__ == "__main__":
    main()
