"""No file of the package is written but by ``vkd.files``, so that all are whole or not there."""

import ast
from functools import cache
from pathlib import Path

import pytest

import vkd

ROOT = Path(vkd.__file__).parent
# Calls that write, copy, move or remove, by the last part of their names.
WRITING = {
    "write_text", "write_bytes", "touch", "save", "save_file", "savefig", "tofile", "savez",
    "savez_compressed", "rename", "renames", "replace", "rmtree", "unlink", "remove", "copy",
    "copyfile", "copy2", "copytree", "move", "TemporaryDirectory", "NamedTemporaryFile", "mkstemp",
    "mkdtemp", "to_parquet", "to_csv", "write_table", "ParquetWriter", "save_pretrained",
    "symlink_to", "hardlink_to", "extractall", "truncate", "ftruncate", "save_for_hf",
    "quantize_static",
}  # fmt: skip
# Where files are written to a place that whole_file or its like gave, or that no one else reads.
ALLOWED = {
    "files.py": "is what the others use",
    "partials.py": "removes what killed processes left",
    "tensor_files.py": "writes to a place that whole_file gave",
    "picture_files.py": "encodes in memory",
    "data/record_files.py": "writes to a place that whole_file gave",
    "embedding/files.py": "writes to places that written_whole gave",
    "deployment/program.py": "writes to a place that written_whole gave",
    "deployment/quantization.py": "writes to a place that written_whole gave, and a temporary one",
    "api/export.py": "has a temporary folder for the network in float",
    "api/bench.py": "has a temporary folder",
    "init/recipe.py": "writes to a place that written_whole gave",
    "init/trial.py": "has a temporary folder for what two processes tell each other",
    "hub/config.py": "timm writes to a place that whole_folder gave",
    "hub/save.py": "moves whole files into a folder that holds others, too",
    "training/lock.py": "writes the number of its process into the file of the lock",
    "training/run_folder.py": "removes the recipe of a run that never began",
    "training/checkpoint.py": "removes states that are no longer needed",
    "reporting/blocks.py": "encodes in memory",
    "reporting/neighbours.py": "encodes in memory",
}


def writes(node):
    """Whether a call may write a file."""
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if name == "open":
        modes = [*node.args, *(keyword.value for keyword in node.keywords)]
        texts = [part.value for part in modes if isinstance(part, ast.Constant)]
        return any(isinstance(text, str) and set(text) & set("wax+") and len(text) <= 3
                   for text in texts)  # fmt: skip
    if name not in WRITING:
        return False
    if name in ("replace", "copy", "remove", "save_pretrained"):
        # Of strings, dataclasses, lists and the like.
        owner = node.func.value if isinstance(node.func, ast.Attribute) else None
        return isinstance(owner, ast.Name) and owner.id in ("os", "shutil")
    return True


@cache
def writers():
    """Return the files of the package that write, with the lines where they do."""
    found = {}
    for file in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and writes(node):
                found.setdefault(file.relative_to(ROOT).as_posix(), []).append(node.lineno)
    return found


def test_every_writer_goes_through_whole_files():
    others = {file: lines for file, lines in writers().items() if file not in ALLOWED}
    assert not others, "use vkd.files, or say in ALLOWED why not"


def test_what_is_allowed_is_needed():
    assert not ALLOWED.keys() - writers().keys()


@pytest.mark.parametrize(
    "code",
    ["open(f, 'w')", "f.open('ab')", "f.write_text(t)", "os.replace(a, b)", "shutil.copy(a, b)",
     "image.save(f)", "open(f, mode='r+')", "save_file(t, f)"],
)  # fmt: skip
def test_what_writes_is_found(code):
    assert writes(ast.parse(code).body[0].value)


@pytest.mark.parametrize(
    "code", ["open(f)", "f.open('rb')", "replace(config, a=1)", "s.replace(a, b)"]
)
def test_what_reads_is_not(code):
    assert not writes(ast.parse(code).body[0].value)
