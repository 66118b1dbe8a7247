"""Pages in a real browser: axe finds nothing, no script fails, and nothing is cut off."""

import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from vkd.api.check import check
from vkd.comparison.page import write_comparison_page
from vkd.reporting.report import write_report
from vkd.training.findings import Picture, PictureRows
from vkd.training.findings_files import read_findings, write_findings

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def faults(browser):
    """What is wrong with a page, at a width and with colours for light or dark."""

    def look(page, width, scheme):
        context = browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True
        )
        opened, found = context.new_page(), []
        opened.on("pageerror", lambda error: found.append(str(error)))
        opened.on("console", lambda said: said.type == "error" and found.append(said.text))
        opened.on("request", lambda one: one.url[:5] not in ("file:", "data:")
                  and found.append(one.url))  # fmt: skip
        opened.goto(Path(page).resolve().as_uri())
        result = axe.Axe().run(opened)
        found += [
            f"{fault['id']}: {fault['nodes'][0]['html'][:200]}"
            for fault in result.response["violations"]
        ]
        wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        if (surplus := opened.evaluate(wide)) > 0:
            found.append(f"the page is {surplus} pixels too wide")
        context.close()
        return found

    return look


def with_neighbours(run, folder):
    """A copy of a run that also found nearest neighbours."""
    copied = shutil.copytree(run, folder)
    pictures = [Picture(Image.effect_noise((40, 40), 50), f"picture {n}") for n in range(4)]
    rows = PictureRows(title="Nearest neighbours", first="query", others="nearest", rows=[pictures])
    write_findings(copied, [*read_findings(copied), rows])
    return copied


@pytest.fixture(scope="module")
def report(digits_run, gan_run, tmp_path_factory):
    """The report of several runs, one of which has a long name."""
    folder = tmp_path_factory.mktemp("report")
    run = with_neighbours(digits_run, folder / ("a-long-name-" * 12))
    return write_report([run, gan_run], folder / "report.html")


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (400, "dark")])
def test_a_report_has_no_barrier(width, scheme, faults, report):
    assert faults(report, width, scheme) == []


@pytest.mark.parametrize(("width", "scheme"), [(1200, "dark"), (400, "light")])
def test_the_page_of_a_data_set_has_no_barrier(width, scheme, faults, photographs, tmp_path):
    check(photographs, page=tmp_path / "check.html", samples=3)
    assert faults(tmp_path / "check.html", width, scheme) == []


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (400, "dark")])
def test_the_page_of_a_comparison_has_no_barrier(width, scheme, faults, digits_run, tmp_path):
    shutil.copytree(digits_run, tmp_path / "runs" / "vkd-0")
    shutil.copytree(digits_run, tmp_path / "runs" / "kd-0")
    trial = {"variant": "kd", "changes": {"logit_weight": 1.0}, "validation": [90.0]}
    results = {
        "metric": "accuracy", "unit": "%", "lower_is_better": False, "reference": "vkd",
        "methods": {"vkd": {"accuracy": [95.0, 96.0]}, "kd": {"accuracy": [93.0, 94.5]}},
        "networks": {"teacher": {"accuracy": 99.0}}, "settings": {"vkd": {}, "kd": {}},
        "tuning": [trial], "recipe": {"task": "classification", "logit_weight": 0.0},
        "runs": {"vkd": ["runs/vkd-0"], "kd": ["runs/kd-0"]},
    }  # fmt: skip
    assert faults(write_comparison_page(tmp_path, results), width, scheme) == []


def test_a_page_is_walked_by_keyboard(browser, report):
    page = browser.new_page(viewport={"width": 400, "height": 800})
    page.goto(report.resolve().as_uri())
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    assert page.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    regions = page.evaluate(
        "[...document.querySelectorAll('.scroll')].every(region => region.tabIndex === 0)"
    )
    assert regions
    page.close()
