"""Every block of code of the documentation runs, or where it needs your data, is understood.

A block whose title is a file is saved as that file, for those after it.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

import pytest
from PIL import Image

import vkd
from vkd.cli import main
from vkd.cli.command import HELP
from vkd.recipe import recipe_names

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").rglob("*.md"))
_FENCE = re.compile(r"^( *)```(\w+)([^\n]*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
# What a block whose title is one of these needs, so that it is only read.
UNRUN = ("with your data", "takes minutes", "sends to the hub")


class Block(NamedTuple):
    page: str
    language: str
    title: str
    text: str


def blocks(page):
    return [
        Block(page.name, language, info.strip().removeprefix("title=").strip('"'),
              textwrap.dedent(text))
        for _, language, info, text in _FENCE.findall(page.read_text())
    ]  # fmt: skip


def runnable(page):
    known = (block for block in blocks(page) if block.language in LANGUAGES)
    return [block for block in known if not block.title or is_file(block)]


def is_file(block):
    return block.title.endswith(".py")


def run_shell(block, folder):
    words = list(shell_words(block))
    if all(line[0] == "vkd" for line in words):
        # In this process, as each new one would import torch again.
        for _, *arguments in words:
            assert main(arguments) == 0, arguments
        return
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-euc", block.text], cwd=folder, env=os.environ | {"PATH": path},
        capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    assert done.returncode == 0, f"{block.text}\n{done.stderr}"


def shell_words(block):
    """The words of each line of a shell block that is not empty."""
    lines = block.text.replace("\\\n", " ").splitlines()
    yield from filter(None, (shlex.split(line, comments=True) for line in lines))


LANGUAGES = {"python", "sh"}
# Pages of commands for clusters and data sets; their commands are understood below.
READ = {"scaling.md", "stores.md", "reproducing.md"}
# Pages that begin with a run and a picture.
BEGUN = {"deploying.md", "publishing.md", "reports.md"}
RUN = [page for page in PAGES if page.name not in READ and runnable(page)]


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
def test_the_blocks_of_a_page_run_one_after_another(page, tmp_path, monkeypatch, request):
    if page.name in BEGUN:
        shutil.copytree(request.getfixturevalue("digits_run"), tmp_path / "runs" / "digits")
        Image.new("L", (20, 20)).save(tmp_path / "seven.png")
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in runnable(page):
        if block.title:
            (tmp_path / block.title).write_text(block.text)
        elif block.language == "python":
            exec(compile(block.text, f"{page.name}", "exec"), names)
        else:
            run_shell(block, tmp_path)


def commands(page):
    """The commands of a page's shell blocks, as words."""
    for block in blocks(page):
        if block.language == "sh":
            for words in shell_words(block):
                if "vkd" in words:
                    yield words[words.index("vkd") + 1 :]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_recipes_and_flags_exist(page, capsys):
    for command, *words in commands(page):
        if command.startswith("--"):
            continue
        assert command in HELP, command
        recipe = words[:1] if command in ("train", "cache", "compare") else []
        for name in recipe:
            assert name in recipe_names() or name.endswith(".yaml"), name
        if [*recipe] and recipe[0].endswith(".yaml"):
            recipe = ["digits"]
        assert main([command, *recipe, "--help"]) == 0
        told = capsys.readouterr().out
        for flag in (word.split("=")[0] for word in words if word.startswith("--")):
            assert re.search(rf"{flag}\b", told), f"{command} {flag}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_python_that_is_only_read_is_python(page):
    for block in blocks(page):
        if block.language == "python":
            compile(block.text, page.name, "exec")
        assert not block.title or is_file(block) or block.title in UNRUN


def test_every_public_name_is_on_a_page_of_the_reference():
    pages = "\n".join(path.read_text() for path in (ROOT / "docs" / "reference").glob("*.md"))
    told = re.findall(r"^::: vkd\.(\w+)$", pages, re.MULTILINE)
    assert sorted(told) == sorted(name for name in vkd.__all__ if name != "__version__")


def test_every_page_is_in_the_navigation():
    navigation = re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text())
    assert sorted(navigation) == sorted(str(page.relative_to(ROOT / "docs")) for page in PAGES)


def test_messages_that_are_explained_are_ours():
    sources = "\n".join(path.read_text() for path in (ROOT / "src" / "vkd").rglob("*.py"))
    sources = re.sub(r'"\s*\n\s*f?"', "", sources)  # sentences that go over several lines
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    messages = re.findall(r"^\| `([^`]+)`", page, re.MULTILINE)
    assert len(messages) > 10
    for message in messages:
        for part in filter(None, (part.strip(" .") for part in message.split("…"))):
            pattern = r"\{[^}]*\}".join(map(re.escape, re.split(r"\b\d+\b", part)))
            assert re.search(pattern, sources), f"{message}: {part}"


def links(text):
    """The links of a page that stay on the site, without what follows the file."""
    found = (link.partition("#")[0] for link in re.findall(r'(?:href|src)="([^"]+)"', text))
    return {link for link in found if link and not re.match(r"\w+:", link)}


def leads_nowhere(path, link):
    place = path.parent / unquote(link)
    return not (place / "index.html" if place.is_dir() else place).exists()


@pytest.mark.slow
def test_the_site_builds_strictly_and_asks_no_other_server(tmp_path):
    pytest.importorskip("mkdocs")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path],
        cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    pages = {path: path.read_text() for path in tmp_path.rglob("*.html")}
    assert len(pages) > 15
    for path, text in pages.items():
        assert not re.search(r'(?:src|href)="https?://[^"]+\.(?:js|css|woff2?)"', text), path
        assert "arithmatex" not in text
    assert "First steps" in pages[tmp_path / "index.html"]
    for path, text in pages.items():
        absent = [
            link for link in links(text) if path.name != "404.html" and leads_nowhere(path, link)
        ]
        assert not absent, (path, absent)
    assert "<math" in pages[tmp_path / "method" / "index.html"]
    assert (tmp_path / "benchmarks" / "results" / "training_step.md").exists() or (
        tmp_path / "benchmarks" / "results" / "training_step" / "index.html"
    ).exists()
