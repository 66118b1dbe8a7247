"""Names from data: in terminals, tables, model cards and pages they are names."""

import csv
import logging
import os
import re
import shutil

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from support.pictures import write_picture
from vkd.api.check import check
from vkd.cli.command import show_log
from vkd.comparison.page import write_comparison_page
from vkd.data.record_files import written
from vkd.plain_text import plain
from vkd.recipe import recipe
from vkd.reporting import markdown
from vkd.reporting.model_card import write_model_card
from vkd.reporting.neighbours import write_neighbours
from vkd.reporting.report import write_report
from vkd.training.findings import Lines, Matrix, Table
from vkd.training.findings_files import write_findings

HOSTILE = [
    "<script>document.title='ran'</script>",
    '" onerror="document.title=\'ran\'" x="',
    "<img src=x onerror=document.title='ran'>",
    "<img src=http://127.0.0.1:9/asked>",
    "javascript:document.title='ran'",
    "</style><script>document.title='ran'</script>",
    "--></svg><svg onload=document.title='ran'>",
    "' style='background:url(http://127.0.0.1:9/asked)",
    "<use href=http://127.0.0.1:9/asked#a>",
    "{{ 7 * 191 }} {% raw %}",
    "\u202egnp.exe\u2066",
    "\x1b]0;ran\x07\x1b[2J",
    "=cmd|'/c calc'!A1",
]
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")


def test_a_terminal_gets_no_orders(capsys, vkd, tmp_path):
    for name in ("\x1b]0;ran\x07", "\u202egnp"):
        write_picture(tmp_path / "data" / "train" / name / "a.png")
        write_picture(tmp_path / "data" / "val" / name / "a.png")
    done = vkd("check", "--data-path", tmp_path / "data")
    assert done.returncode == 0, done.stderr
    assert not re.search("[\x1b\x07\u202e]", done.stdout + done.stderr)
    assert "\\x1b]0;ran\\x07" in done.stdout
    show_log("vkd")
    logging.getLogger("vkd").warning("%s: odd.", "\x1b[2J")
    done = vkd("eval", "--checkpoint", "\x1b[2J.pth")
    assert "\x1b" not in done.stderr + capsys.readouterr().err
    assert "\\x1b[2J.pth" in done.stderr


@given(st.text())
def test_plain_text_can_be_written_and_read_again(text):
    shown = plain(text)
    shown.encode()
    assert plain(shown) == shown
    assert shown.isprintable() or not text.isprintable()


@pytest.mark.parametrize("text", ["kept", "two\nlines\tof text", "é 한 \u200d"])
def test_what_people_write_stays(text):
    assert plain(text) == text


def test_a_spreadsheet_computes_nothing(tmp_path, caplog):
    names = ["=1+1", "+1+1", "-cmd", "@SUM(A1)", "\t=1", "\r=1", "-1", "cat"]
    records = [{"image": "a.png", "class": name, "score": -0.5} for name in names]
    list(written(records, tmp_path / "found.csv"))
    with (tmp_path / "found.csv").open(newline="") as opened:
        found = [row["class"] for row in csv.DictReader(opened)]
    assert found == [f"'{name}" for name in names[:6]] + names[6:]
    assert "6 cells" in caplog.text
    list(written(records, tmp_path / "found.jsonl"))
    assert "'=" not in (tmp_path / "found.jsonl").read_text()


@pytest.mark.parametrize("name", [*HOSTILE, "a`b``c", "```\n# Title\n", "a | b", "[a](http://b)"])
def test_markdown_shows_names(name):
    shown = f"| {markdown.words(name)} |\n\n{markdown.code(name)}\n\n{markdown.block(name, 'yaml')}"
    tokens = MarkdownIt("commonmark").parse(shown)
    kinds = [token.type for token in tokens]
    assert kinds.count("fence") == 1
    assert not {"html_block", "heading_open"} & set(kinds)
    inner = [child.type for token in tokens for child in token.children or ()]
    assert not {"html_inline", "link_open", "image"} & set(inner)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_model_card_shows_names(name, tmp_path):
    config = recipe("digits", teacher_checkpoint=name, trackers="")
    write_model_card(tmp_path / "README.md", config, {name: 1.0}, {"parameters": 1.0})
    text = (tmp_path / "README.md").read_text()
    front, body = text.split("---\n", 2)[1:]
    assert yaml.safe_load(front)["tags"]
    tokens = MarkdownIt("commonmark").parse(body)
    blocks = [token.content for token in tokens if token.type == "html_block"]
    assert all(block.startswith("<!-- written by vkd -->") for block in blocks)
    inner = [child.type for token in tokens for child in token.children or ()]
    assert "html_inline" not in inner


@pytest.fixture(scope="module")
def look():
    """What a page does in a browser: its title, and addresses that it asked for."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])

        def looked(page):
            opened, asked, said = browser.new_page(), [], []
            opened.on("request", lambda one: asked.append(one.url))
            opened.on("console", lambda one: said.append(one.text))
            opened.goto(page.resolve().as_uri())
            opened.wait_for_timeout(100)
            own = (page.resolve().as_uri(), "data:")
            styled = opened.evaluate("getComputedStyle(document.querySelector('h1')).fontSize")
            scripts = opened.evaluate("document.scripts.length")
            handlers = opened.evaluate(
                "[...document.querySelectorAll('*')].filter(e => [...e.attributes]"
                ".some(a => a.name.startsWith('on') || a.name == 'style')).length"
            )
            lines = opened.evaluate(
                "[...document.querySelectorAll('svg path')]"
                ".filter(e => getComputedStyle(e).stroke.startsWith('rgb')).length"
            )
            title, text = opened.title(), opened.inner_text("body")
            opened.close()
            assert [url for url in asked if not url.startswith(own)] == []
            assert said == []
            assert (scripts, handlers) == (0, 0)
            assert styled == "30.4px"  # the page's own style acts
            assert "1337" not in text
            assert not re.search("[\x1b\u202e\u2066]", text + title)
            return title, text, lines

        yield looked
        browser.close()


def test_a_report_runs_and_fetches_nothing(look, digits_run, tmp_path):
    run = shutil.copytree(digits_run, tmp_path / "<script>document.title='ran'<︓script>")
    line = ([1.0, 2.0], [1.0, 2.0])
    write_findings(run, [
        Matrix(title=HOSTILE[0], text=HOSTILE[1], row=HOSTILE[2], column=HOSTILE[3],
               names=HOSTILE, counts=[[1] * len(HOSTILE)] * len(HOSTILE)),
        Table(title=HOSTILE[5], text=HOSTILE[6], header=["a", "b"],
              rows=[[name, name] for name in HOSTILE]),
        Lines(title="Lines", text=HOSTILE[7], x=HOSTILE[0], y=HOSTILE[2],
              series=dict.fromkeys(HOSTILE, line)),
    ])  # fmt: skip
    title, text, lines = look(write_report([run], tmp_path / "report.html"))
    assert title != "ran"
    assert "<script>document.title='ran'</script>" in text
    assert lines > 10  # drawings have their colours without styles in tags


def test_the_page_of_a_data_set_runs_and_fetches_nothing(look, tmp_path):
    for place, name in enumerate(name.replace("/", "\u2215") for name in HOSTILE):
        write_picture(tmp_path / "data" / "train" / name / f"{place}.png")
        write_picture(tmp_path / "data" / "val" / name / f"{name}.png")
    check(tmp_path / "data", page=tmp_path / "check.html")
    assert look(tmp_path / "check.html")[0] != "ran"


def test_the_page_of_a_search_runs_and_fetches_nothing(look, tmp_path):
    records = [{"query": name, "rank": 1, "image": name, "similarity": 1.0} for name in HOSTILE]
    write_neighbours(records, HOSTILE[0], tmp_path / "found.html")
    assert look(tmp_path / "found.html")[0] != "ran"


def test_the_page_of_a_comparison_runs_and_fetches_nothing(look, digits_run, tmp_path):
    shutil.copytree(digits_run, tmp_path / "runs" / "a-0")
    methods = {name: {"accuracy": [95.0]} for name in HOSTILE}
    results = {
        "metric": "accuracy", "unit": "%", "lower_is_better": False, "reference": HOSTILE[0],
        "methods": methods, "networks": {HOSTILE[2]: {"accuracy": 99.0}},
        "settings": {name: {name: name} for name in HOSTILE},
        "tuning": [{"variant": HOSTILE[0], "changes": {}, "validation": [90.0]}],
        "recipe": {"task": HOSTILE[5], "note": HOSTILE[0]},
        "runs": {name: ["runs/a-0"] for name in HOSTILE},
    }  # fmt: skip
    assert look(write_comparison_page(tmp_path, results))[0] != "ran"
