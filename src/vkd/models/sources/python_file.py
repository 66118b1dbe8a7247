"""Networks that a function in a file of Python returns. Building one runs the file."""

import ast
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from torch import nn

from vkd.errors import UserError, nearest, reason_of, shortened
from vkd.models.sources.source import Options, Source, fitting_all, stored_options
from vkd.notes import say


def _problem(own: str) -> str:
    """Reads the file and does not run it."""
    path, name = _parts(own)
    if not os.path.isfile(path):
        return f"there is no file {shortened(path, 120)}"
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except SyntaxError as error:
        return f"{shortened(path, 120)}, line {error.lineno}: it is no Python: {error.msg}"
    except (ValueError, OSError, RecursionError) as error:
        return f"{shortened(path, 120)} cannot be read: {reason_of(error)}"
    names = [found for node in tree.body for found in _defined(node)]
    if name in names:
        return ""
    return f"{shortened(path, 120)} defines no {name}{nearest(name, names)}"


def _parts(own: str) -> tuple[Path, str]:
    path, _, name = own.rpartition(":")
    return Path(path), name


def _defined(node: ast.stmt) -> list[str]:
    """The names that a statement of a file gives, as far as they are plain."""
    match node:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.Assign(targets=targets):
            return [target.id for target in targets if isinstance(target, ast.Name)]
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            return [alias.asname or alias.name for alias in names]
    return []


def _build(own: str, options: Options) -> nn.Module:
    function = _function(own)
    taken = _taken(function, options)
    if left := [name for name in options if name not in taken]:
        say(own, [f"its function takes no {', '.join(left)}, and is called without"])
    network = function(**taken)
    if not isinstance(network, nn.Module):
        raise UserError(
            f"{shortened(own, 150)} must return a torch.nn.Module, found {type(network).__name__}."
        )
    return network


def _taken(function: Callable[..., Any], options: Options) -> Options:
    """The options that a function's signature has."""
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return options
    names = {parameter.name for parameter in parameters}
    return {name: value for name, value in options.items() if name in names}


def _function(own: str) -> Callable[..., Any]:
    path, name = _parts(own)
    try:
        found = vars(_module(path.resolve()))[name]
        inspect.signature(found)
    # Anything may go wrong in a user's file.
    except Exception as error:
        kind = type(error).__name__
        raise UserError(
            f"{shortened(own, 120)} cannot be imported: {kind}: {reason_of(error)}."
        ) from error
    return found


@cache
def _module(path: Path) -> Any:
    """The file as a module, run once; files beside it can be imported meanwhile."""
    name = f"vkd_file_{abs(hash(path)):x}"
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"no module can be made of {path}")
    module = module_from_spec(spec)
    # Dataclasses and pickles look their module up.
    sys.modules[name] = module
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        sys.path.remove(str(path.parent))
    return module


def _published(own: str, options: Options) -> nn.Module:
    raise UserError(
        f"{shortened(own, 150)} is a file, so it has no weights on the hub; leave the checkpoint "
        "out for those that its function gives, or name a file."
    )


def _inputs(own: str) -> Mapping[str, Any]:
    """Nothing is known without running the file."""
    return {}


SOURCE = Source(
    problem=_problem, build=_build, published=_published, inputs=_inputs, fitting=fitting_all,
    stored=stored_options,
)  # fmt: skip
