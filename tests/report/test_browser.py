"""The pages in a real browser: no console error, nothing wider than the screen, sorted tables."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fundus_cli.report.leaderboard import read_jobs
from fundus_cli.report.run_files import read_run
from fundus_cli.report.run_page import write_report
from fundus_cli.report.sweep_page import write_leaderboard

from .conftest import MakeRun, add_pictures

Open = Callable[[Path, int, str], Any]

FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--no-first-run", "--disable-dev-shm-usage"),
)
SCREENS = [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Headless Chromium with a profile of its own."""
    selenium = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    driver_path = shutil.which("chromedriver")
    if chromium is None or driver_path is None:
        pytest.skip("no Chromium with its chromedriver on this machine")
    options = selenium.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = selenium.Chrome(options=options, service=selenium.ChromeService(driver_path))
    yield driver
    driver.quit()


@pytest.fixture
def open_page(browser: Any) -> Open:
    """open_page(path, width, scheme) -> the browser showing it."""

    def show(path: Path, width: int, scheme: str) -> Any:
        metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        browser.get(path.as_uri())
        return browser

    return show


CONTRAST = """
const light = (text) => {
  const [r, g, b] = text.match(/[0-9.]+/g).slice(0, 3).map((v) => v / 255)
    .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const ground = light(getComputedStyle(document.body).backgroundColor);
return [...document.querySelectorAll("h1, h2, p, dt, th, td, figcaption, a, .bad, svg text")]
  .filter((e) => e.textContent.trim() && !e.closest("dialog"))
  .map((e) => {
    const style = getComputedStyle(e);
    const ink = light(e.closest("svg") ? style.fill : style.color);
    const [a, b] = [Math.max(ink, ground), Math.min(ink, ground)];
    return [(a + 0.05) / (b + 0.05), e.tagName + ": " + e.textContent.trim().slice(0, 40)];
  }).sort((a, b) => a[0] - b[0])[0];
"""
"""The lowest contrast of any text with the page (WCAG 2, section 1.4.3)."""


def check_form(browser: Any, width: int) -> None:
    assert browser.get_log("browser") == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    contrast, where = browser.execute_script(CONTRAST)
    assert contrast >= 4.5, where
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
    named = "return [...document.querySelectorAll('[role=img]')].every((e) => e.ariaLabel)"
    assert browser.execute_script(named)
    heads = "return [...document.querySelectorAll('table')].every((t) => t.tHead && t.caption)"
    assert browser.execute_script(heads)


def column(browser: Any, table: str, number: int) -> list[str]:
    script = f"return [...document.querySelectorAll('#{table} tbody tr')]"
    return list(browser.execute_script(f"{script}.map((r) => r.cells[{number}].textContent)"))


def click(browser: Any, selector: str) -> None:
    browser.execute_script("document.querySelector(arguments[0]).click()", selector)


@pytest.mark.parametrize(("width", "scheme"), SCREENS)
def test_a_report(open_page: Open, make_run: MakeRun, width: int, scheme: str) -> None:
    folder = make_run("run", "data=chasedb1", structures=("vessel", "<script>alert(1)</script>"))
    add_pictures(folder, read_run(folder).rows)
    browser = open_page(write_report(folder), width, scheme)
    check_form(browser, width)
    dark = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (dark != "rgb(255, 255, 255)") == (scheme == "dark")

    assert column(browser, "images", 0) == ["p2", "p2", "p1", "p1"]
    click(browser, "#images th:first-child button")
    assert column(browser, "images", 0) == ["p1", "p1", "p2", "p2"]
    click(browser, "#images th:first-child button")
    assert column(browser, "images", 0) == ["p2", "p2", "p1", "p1"]
    sort = "return document.querySelector('#images th').ariaSort"
    assert browser.execute_script(sort) == "descending"

    click(browser, ".panels button")
    size = "return document.querySelector('dialog .view svg').getBoundingClientRect().width"
    before = browser.execute_script(size)
    click(browser, "dialog [value=in]")
    assert browser.execute_script(size) == pytest.approx(1.5 * before)
    click(browser, "dialog input[value=classes]")
    shown = "return getComputedStyle(document.querySelector('dialog .classes')).display"
    assert browser.execute_script(shown) == "none"
    click(browser, "dialog [value=close]")
    assert not browser.execute_script("return document.querySelector('dialog').open")
    assert browser.get_log("browser") == []


@pytest.mark.parametrize(("width", "scheme"), SCREENS)
def test_a_leaderboard(
    open_page: Open, make_run: MakeRun, tmp_path: Path, width: int, scheme: str
) -> None:
    for number, (lr, dice) in enumerate(((0.1, 0.5), (0.01, 0.9), (0.001, 0.7))):
        overrides = [f"optimizer.lr={lr}", f"seed={number % 2}", "data.folds=2"]
        job = {"overrides": overrides}
        make_run(f"sweep/{number}", *overrides, val_dice=dice, job=job)
    (tmp_path / "sweep" / "2" / "job.json").write_text(
        '{"status": "failed", "reason": "<script>alert(1)</script>", "overrides": []}'
    )
    write_leaderboard(tmp_path / "sweep", read_jobs(tmp_path / "sweep"))
    browser = open_page(tmp_path / "sweep" / "leaderboard.html", width, scheme)
    check_form(browser, width)
    assert column(browser, "jobs", 0) == ["1", "0", "2"]
    click(browser, "#jobs th:nth-child(2) button")
    assert column(browser, "jobs", 1) == ["0.001", "0.01", "0.1"]
    reason = "return document.querySelector('#reasons dd').textContent"
    assert browser.execute_script(reason) == "<script>alert(1)</script>"
