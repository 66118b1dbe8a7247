"""Which folder may import which; nothing points back up."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import vkd

ROOT = Path(vkd.__file__).parent
CORE = ("projection", "normalization", "loss", "features", "inputs", "teacher", "distiller")
SHARED = {
    *CORE, "store", "store_description", "methods", "errors", "files", "notes", "versions",
    "config", "models", "data", "training",
}  # fmt: skip
ROOMS = ("classification", "detection", "generation")
ALLOWED = {
    **{name: set(CORE) for name in CORE},
    "store": {"errors", "features", "teacher", "store_description"},
    "store_description": set(),
    "methods": {"projection", "normalization", "loss", "errors", "methods"},
    "errors": set(),
    "files": {"errors"},
    "notes": set(),
    "versions": set(),
    "config": {"errors", "methods"},
    "models": {"errors", "notes", "models"},
    "data": {"errors", "files", "notes", "inputs", "data"},
    "training": {"errors", "files", "notes", "versions", "config", "training"},
    **{room: SHARED | {room} for room in ROOMS},
    "tasks": {"errors", "config", "training", *ROOMS},
    "recipe": {"errors", "config", "methods", "tasks", "recipe_values"},
    "recipe_values": {"errors"},
    "reporting": {
        "errors",
        "files",
        "versions",
        "config",
        "data",
        "projection",
        "training",
        "reporting",
    },
    "api": {*SHARED, "tasks", "recipe", "recipe_values", "reporting", "api"},
    "comparison": {*SHARED, "tasks", "recipe", "recipe_values", "reporting", "api", "comparison"},
    "demo": {"errors", "reporting", "api", "comparison", "demo"},
}


@pytest.mark.parametrize("layer", ALLOWED)
def test_imports_only_what_lies_below(layer):
    folder = ROOT / layer
    files = list(folder.rglob("*.py")) if folder.is_dir() else [ROOT / f"{layer}.py"]
    assert files
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("vkd"):
                modules = (
                    [node.module] if node.module != "vkd" else [f"vkd.{a.name}" for a in node.names]
                )
                for module in modules:
                    assert module.split(".")[1] in ALLOWED[layer], f"{file.name}: {module}"


def test_the_package_imports_without_torch():
    modules = "vkd, vkd.cli, vkd.cli.commands, vkd.config, vkd.methods.catalogue"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_every_public_name_is_there_and_documented():
    for name in vkd.__all__:
        assert getattr(vkd, name).__doc__, name
