"""The mutants of a Python file: one small change each, by the operators of mutmut.

Left out by rule: docstrings, annotations and names of types, decorators, and what only words a
message: ``raise`` statements, calls of ``say``, ``_print`` and ``print``, texts of several words.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from inspect import CO_OPTIMIZED
from pathlib import Path
from types import CodeType

import libcst
from libcst.metadata import MetadataWrapper
from mutmut.mutation.mutators import mutation_operators

_SPEAKING = {"say", "_print", "print"}
_TYPES = ("TypeVar(", "Callable[", "dict[", "tuple[", "Literal[")
_DOCUMENTED = (libcst.Annotation, libcst.Decorator, libcst.Raise, libcst.ImportFrom, libcst.Import)


@dataclass(frozen=True)
class Mutant:
    """One change of a file.

    Attributes:
        place: the function or class that is changed, or ``module``.
        change: the line before and after.
        source: of the whole file after it.
        swaps: the code of functions before and after; None where more than functions changes, so
            that the file is to be imported anew.
    """

    place: str
    change: str
    source: str
    swaps: list[tuple[CodeType, CodeType]] | None


def mutants_of(file: Path) -> list[Mutant]:
    """Return a file's mutants, of those that compile to the same code only one."""
    text = file.read_text(encoding="utf-8")
    module = MetadataWrapper(libcst.parse_module(text)).module
    before = _compiled(text, file)
    seen = {_compiled(text, file, 2)}
    found = []
    parts = [module.code_for_node(statement) for statement in module.body]
    start = text.index(parts[0]) if parts else 0
    for number, statement in enumerate(module.body):
        finder = _Finder()
        statement.visit(finder)
        for place, node, changed in finder.changes:
            other = module.code_for_node(statement.deep_replace(node, changed))
            source = text[:start] + "".join([*parts[:number], other, *parts[number + 1 :]])
            try:
                code = _compiled(source, file, 2)
            except SyntaxError:
                continue
            if code not in seen:
                seen.add(code)
                swaps = _swaps(before, _compiled(source, file))
                found.append(Mutant(place, _change(text, source), source, swaps))
    return found


class _Finder(libcst.CSTVisitor):
    """Collects places, nodes and what takes their place."""

    def __init__(self) -> None:
        self.changes: list[tuple[str, libcst.CSTNode, libcst.CSTNode]] = []
        self.names: list[str] = []

    def on_visit(self, node: libcst.CSTNode) -> bool:
        if isinstance(node, _DOCUMENTED) or _speaks(node) or _names_type(node):
            return False
        if isinstance(node, libcst.FunctionDef | libcst.ClassDef):
            self.names.append(node.name.value)
        place = ".".join(self.names) or "module"
        for kind, operator in mutation_operators:
            if isinstance(node, kind):
                self.changes += [(place, node, changed) for changed in operator(node)]
        return True

    def on_leave(self, original_node: libcst.CSTNode) -> None:
        if isinstance(original_node, libcst.FunctionDef | libcst.ClassDef):
            self.names.pop()


def _speaks(node: libcst.CSTNode) -> bool:
    if isinstance(node, libcst.SimpleString):
        return " " in node.value
    if not isinstance(node, libcst.Call):
        return False
    called = node.func.attr if isinstance(node.func, libcst.Attribute) else node.func
    return isinstance(called, libcst.Name) and called.value in _SPEAKING


def _names_type(node: libcst.CSTNode) -> bool:
    if not isinstance(node, libcst.Assign):
        return False
    return libcst.Module([]).code_for_node(node.value).startswith(_TYPES)


def _compiled(source: str, file: Path, optimize: int = 0) -> CodeType:
    return compile(source, str(file.resolve()), "exec", optimize=optimize, dont_inherit=True)


def _change(before: str, after: str) -> str:
    """The lines that differ, before and after."""
    old, new = before.splitlines(), after.splitlines()
    while old and new and old[0] == new[0]:
        del old[0], new[0]
    while old and new and old[-1] == new[-1]:
        del old[-1], new[-1]
    return " -> ".join(" ".join(line.strip() for line in lines) for lines in (old, new))


def _swaps(before: CodeType, after: CodeType) -> list[tuple[CodeType, CodeType]] | None:
    """The outermost functions that differ; None where the code around them does."""
    if before.co_flags & CO_OPTIMIZED:
        return [(before, after)] if before != after else []
    if _around(before) != _around(after):
        return None
    found = []
    for inner in zip(_inner(before), _inner(after), strict=True):
        swaps = _swaps(*inner)
        if swaps is None:
            return None
        found += swaps
    return found


def _around(code: CodeType) -> CodeType:
    constants = tuple(None if isinstance(part, CodeType) else part for part in code.co_consts)
    return code.replace(co_consts=constants, co_linetable=b"", co_exceptiontable=b"")


def _inner(code: CodeType) -> Iterator[CodeType]:
    return (part for part in code.co_consts if isinstance(part, CodeType))
