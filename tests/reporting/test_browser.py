"""Opening a page in the user's browser."""

import pytest

from vkd.demo import run
from vkd.reporting import browser


@pytest.fixture
def opened(monkeypatch):
    """The addresses that a browser was asked to open."""
    found = []
    monkeypatch.setattr(browser.webbrowser, "open", lambda address: found.append(address) or True)
    return found


@pytest.fixture
def desktop(monkeypatch):
    """A Linux desktop; without ``DISPLAY`` a machine without one."""
    monkeypatch.setattr(browser.sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_a_page_is_opened_by_its_address(opened, desktop, tmp_path):
    desktop.setenv("DISPLAY", ":0")
    browser.open_in_browser(tmp_path / "a page.html")
    assert opened == [(tmp_path / "a page.html").as_uri()]


def test_without_a_display_one_sentence_says_so(opened, desktop, tmp_path, caplog):
    browser.open_in_browser(tmp_path / "page.html")
    assert opened == []
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path / 'page.html'}: not opened, as there is no display here."
    ]


def test_without_a_browser_one_sentence_says_so(desktop, tmp_path, caplog):
    desktop.setenv("DISPLAY", ":0")
    desktop.setattr(browser.webbrowser, "open", lambda address: False)
    browser.open_in_browser(tmp_path / "page.html")
    assert "no browser was found" in caplog.text


@pytest.mark.parametrize("show", [True, False])
def test_the_demo_opens_its_report_where_it_is_asked_to(show, vkd, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(run, "run_demo", lambda *_: None)
    monkeypatch.setattr(browser, "open_in_browser", asked.append)
    flags = ["--open"] if show else []
    done = vkd("demo", "--output", tmp_path / "demo", *flags)
    assert done.returncode == 0, done.stderr
    assert asked == [tmp_path / "demo" / "report.html"] * show
