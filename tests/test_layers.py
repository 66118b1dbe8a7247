"""Which folder may import which; nothing points back up."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import vkd

ROOT = Path(vkd.__file__).parent
CORE = (
    "projection", "normalization", "loss", "features", "inputs", "precision", "similarity",
    "teacher", "distiller",
)  # fmt: skip
# Files, errors and words, which know nothing of networks.
GROUND = {
    "errors", "files", "inside", "json_values", "network_names", "notes", "partials",
    "picture_files", "places", "plain_text", "ranges", "tensor_files", "versions",
}  # fmt: skip
SHARED = {
    *CORE, *GROUND, "store", "methods", "config", "images_config", "models", "data", "training",
}  # fmt: skip
ROOMS = ("classification", "detection", "generation", "embedding")
ALLOWED = {
    **{name: set(CORE) for name in CORE},
    "precision": set(),
    "similarity": set(),
    **dict.fromkeys(sorted(GROUND), GROUND),
    "store": {*CORE, *GROUND, "config", "data", "models", "training", "store"},
    "methods": {"projection", "normalization", "loss", "similarity", "errors", "methods"},
    "config": {*GROUND, "methods", "config"},
    "images_config": {*GROUND, "config", "data"},
    "models": {*GROUND, "inputs", "models"},
    "data": {*GROUND, "inputs", "data"},
    "training": {*GROUND, "config", "data", "precision", "similarity", "training"},
    **{room: SHARED | {room} for room in ROOMS},
    "tasks": {*GROUND, "config", "training", *ROOMS},
    "deployment": {*GROUND, "inputs", "data", "models", "training", "deployment"},
    "recipe": {*GROUND, "config", "methods", "tasks", "recipe_values"},
    "recipe_values": {*GROUND},
    "reporting": {*GROUND, "config", "data", "projection", "training", "reporting"},
    "speed": {*GROUND, "models", "speed"},
    "api": {*SHARED, "tasks", "recipe", "recipe_values", "reporting", "speed", "deployment", "api"},
    "hub": {*SHARED, "tasks", "reporting", "api", "hub"},
    "comparison": {*SHARED, "tasks", "recipe", "recipe_values", "reporting", "api", "comparison"},
    "init": {*SHARED, "tasks", "recipe", "plugins", "reporting", "api", "init"},
    "integrations": {*GROUND, "distiller", "features", "loss", "teacher", "integrations"},
    "demo": {*GROUND, "reporting", "api", "comparison", "demo"},
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
