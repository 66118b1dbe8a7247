"""What turns the pages in ``docs`` into a site that asks no other server for anything.

Formulas become MathML, which browsers draw themselves. Files that pages link to outside of
``docs``, such as results and sources, are copied into the site. Lists of commands, recipes and
fields are made of the package itself.
"""

import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from vkd.cli.command import HELP
from vkd.config import default_values, field_groups, field_texts
from vkd.recipe import recipe_names, recipe_summary
from vkd.tasks import TASKS

_OUTSIDE = re.compile(r"\]\((?:\.\./)+((?:benchmarks|src|scripts|paper|examples)[^)#]*)(#[^)]*)?\)")
_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files outside of ``docs`` that pages link to."""
    root = Path(config.config_file_path).parent
    for file in files.documentation_pages():
        for path in sorted({match[1] for match in _OUTSIDE.finditer(file.content_string)}):
            if (root / path).is_file() and files.get_file_from_path(path) is None:
                files.append(File.generated(config, path, abs_src_path=str(root / path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links that leave ``docs`` at the copies of their files; folders become their names."""
    up = "../" * (page.file.src_uri.count("/"))

    def moved(match: re.Match[str]) -> str:
        return f"]({up}{match[1]}{match[2] or ''})"

    for name, listed in _LISTS.items():
        mark = f"<!-- {name} -->"
        if mark in markdown:
            markdown = markdown.replace(mark, listed())
    # Of files that were outside, whose links to pages go into ``docs``.
    return _OUTSIDE.sub(moved, markdown).replace("](../docs/", "](../")


def on_page_content(html: str, **_: Any) -> str:
    """Draw formulas as MathML."""

    def drawn(match: re.Match[str]) -> str:
        kind = "inline" if match[2] == "(" else "block"
        return convert(_unescaped(match[3]), display=kind)

    return _FORMULA.sub(drawn, html)


def _commands() -> str:
    return _table(["command", "does"], [[f"`vkd {name}`", text] for name, text in HELP.items()])


def _recipes() -> str:
    return _table(
        ["recipe", "is"], [[f"`{name}`", recipe_summary(name)] for name in recipe_names()]
    )


def _fields() -> str:
    """A table of fields for each task, with those of all trainings in one of their own."""
    parts = []
    for name, spec in TASKS.items():
        texts, defaults = field_texts(spec.config), default_values(spec.config)
        parts.append(f"## Fields of {name}")
        for heading, fields in field_groups(spec.config).items():
            rows = [[f"`{f}`", texts.get(f, ""), _shown(defaults.get(f))] for f in fields]
            parts += [f"### {name}: {heading}", _table(["field", "is", "default"], rows)]
    return "\n\n".join(parts)


def _shown(value: Any) -> str:
    return "" if value in ("", {}, [], None) else f"`{value}`"


def _table(header: list[str], rows: list[list[str]]) -> str:
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    lines = [header, ["---"] * len(header), *escaped]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


_LISTS = {"commands": _commands, "recipes": _recipes, "fields": _fields}


def _unescaped(text: str) -> str:
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&").strip()
