"""The scripts of docs/deploying.md, run without torch and this package."""

import re
from pathlib import Path

from support.commands import run_python

PAGE = Path(__file__).parents[2] / "docs" / "deploying.md"
# What a script may not import.
_WITHOUT = """
import runpy, sys
for name in ("torch", "torchvision", "timm", "vkd", "onnx"):
    sys.modules[name] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0])
"""


def run_script(name, folder, *arguments, **changes):
    """Save a script of the page, with ``changes`` of its text; return what it prints."""
    (code,) = re.findall(rf'```python title="{name}"\n(.*?)```', PAGE.read_text(), re.DOTALL)
    for before, after in changes.items():
        assert before in code
        code = code.replace(before, after)
    (folder / name).write_text(code)
    done = run_python("-c", _WITHOUT, folder / name, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout
