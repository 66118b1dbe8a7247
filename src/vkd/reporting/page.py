"""A page that needs no other file: its frame, and sections that several pages have.

It has no script, and its policy lets a browser run none, use no style but its own, and
fetch nothing.
"""

import re
from base64 import b64encode
from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup, escape

from vkd.files import write_whole
from vkd.plain_text import plain
from vkd.reporting.blocks import Folded, Section
from vkd.reporting.environment import environment


def details(recipes: dict[str, str]) -> Section:
    """Return a section of folded recipes and the environment of the page."""
    facts = "\n".join(f"{name}: {value}" for name, value in environment().items())
    blocks = [Folded("Environment of this page", facts)]
    blocks += [Folded(f"Recipe: {name}", text) for name, text in recipes.items()]
    return Section("Recipe and environment", blocks)


def write_page(output: Path, title: str, lead: str, sections: Sequence[Section]) -> Path:
    """Write a page of sections, those without blocks left out, and return its path."""
    output.parent.mkdir(parents=True, exist_ok=True)
    kept = [section for section in sections if section.blocks]
    style = Markup((Path(__file__).parent / "page.css").read_text(encoding="utf-8"))
    page = _template().render(
        title=title, lead=lead, sections=kept, style=style, policy=_policy(style)
    )
    write_whole(output, page)
    return output


def _policy(style: str) -> Markup:
    """The content security policy of a page with a style sheet."""
    digest = b64encode(sha256(style.encode()).digest()).decode()
    return Markup(
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; "
        "form-action 'none'"
    )


@cache
def _template() -> Template:
    loader = FileSystemLoader(Path(__file__).parent)
    made = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_readable,
    )
    made.filters["inlined"] = _inlined
    return made.get_template("page.html")


def _readable(value: Any) -> Any:
    """A text without unseen characters; markup was made here."""
    return plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _inlined(svg: str, name: str, alt: str) -> Markup:
    """A trusted <svg> with an alternative, and ids that no other figure of the page has."""
    own = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    return Markup(own.replace("<svg ", f'<svg role="img" aria-label="{escape(plain(alt))}" ', 1))
