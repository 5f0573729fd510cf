"""`oasis report` in a headless browser: what it says, how it fits, and that its script makes no error."""

import json
import os
import re
import shutil
import sqlite3
import sys
import threading

import pytest
import results_database
from conftest import REPOSITORY, Program, built

pytest.importorskip("matplotlib", reason="matplotlib is not installed: scripts/setup")
WIDTHS = {"phone": 390, "desktop": 1280}


@pytest.fixture(autouse=True)
def interpreter(monkeypatch):
    monkeypatch.setenv("OASIS_PYTHON", sys.executable)
    monkeypatch.setenv("OASIS_SOURCE", str(REPOSITORY))


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    db = results_database.create(folder / "results.db")
    results_database.add_suite(db, methods=(*results_database.METHODS, results_database.HOSTILE))
    results_database.add_benchmarks(db)
    stage = db.execute("SELECT max(id) FROM stages WHERE kind = 'evaluate'").fetchone()[0]
    results_database.metric(db, stage, "avg_kurtosis/seq", None, reason="not a number")
    db.commit()
    db.close()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OASIS_PYTHON", sys.executable)
        patch.setenv("OASIS_SOURCE", str(REPOSITORY))
        Program(built("OASIS_BINARY", "build/oasis"), folder).run("report", folder / "results.db", "--output", folder / "r.html")
    return folder / "r.html"


@pytest.fixture
def browser():
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed: scripts/setup --tests")
    chromium, driver = shutil.which("chromium") or shutil.which("chromium-browser"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("chromium or chromedriver is not installed: scripts/setup --tests")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    # Sanitizers that Python loads first for our library are not for the browser.
    plain = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver, env=plain))
    yield opened
    opened.quit()


def open_at(browser, path, width):
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                            {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600})
    browser.get(f"file://{path}")
    # Whatever the console says is an error: a script's, a blocked request, a policy broken.
    assert browser.get_log("browser") == []


def test_order_and_contents(report):
    text = report.read_text()
    assert re.findall(r"<section id=(\w+)>", text) == ["claims", "summary", "warnings", "tables", "figures", "configuration",
                                                       "provenance", "repeat"]
    for command in ("oasis tables perplexity", "oasis figures", "oasis reproduce", "oasis report"):
        assert command in text
    warned = text[text.index("<section id=warnings>"):text.index("<section id=tables>")]
    assert "few seeds" in warned and "NaN cells" in warned and "simulated only" in warned


def test_foreign_text_stays_text(report):
    text = report.read_text()
    assert "<script>window.stolen" not in text and "&lt;script&gt;window.stolen" in text
    assert len(re.findall("<script", text)) == 1


def test_nothing_comes_from_a_network(report):
    assert not re.findall(r'(?:src|href)=(?:"(?!data:|#)|[^"])', report.read_text())


@pytest.mark.parametrize("name", WIDTHS)
def test_it_fits(report, browser, tmp_path, name):
    open_at(browser, report, WIDTHS[name])
    page, window = browser.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
    assert page <= window, "the page itself scrolls sideways"
    assert browser.execute_script("return window.stolen") is None
    assert browser.execute_script("return [...document.images].every(i => i.complete && i.naturalWidth > 0)")
    # No head is cut off.
    assert browser.execute_script("return [...document.querySelectorAll('thead button')]"
                                  ".filter(b => b.scrollWidth > b.clientWidth).map(b => b.textContent)") == []
    assert browser.save_screenshot(str(tmp_path / f"{name}.png"))
    sent = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    requests = [m["params"]["request"]["url"] for m in sent if m["method"] == "Network.requestWillBeSent"]
    assert all(url.startswith(("file:", "data:")) for url in requests), requests


def test_a_click_sorts(report, browser):
    open_at(browser, report, 1280)
    table = "document.querySelector('#table-perplexity table')"
    column = f"[...{table}.tBodies[0].rows].map(r => parseFloat(r.cells[1].textContent))"
    browser.execute_script(f"{table}.querySelectorAll('thead button')[1].click()")
    ascending = browser.execute_script(f"return {column}")
    browser.execute_script(f"{table}.querySelectorAll('thead button')[1].click()")
    descending = browser.execute_script(f"return {column}")
    assert ascending == sorted(ascending) and len(set(ascending)) > 2
    assert descending == sorted(descending, reverse=True)
    assert browser.get_log("browser") == []


def test_an_error_of_the_script_would_be_seen(report, browser, tmp_path):
    broken = tmp_path / "broken.html"
    # Its hash does not match the policy's any more: the browser refuses it and says so.
    broken.write_text(report.read_text().replace('"use strict";', "nowhere();"))
    with pytest.raises(AssertionError):
        open_at(browser, broken, 1280)


def test_it_prints(report, browser):
    import base64

    open_at(browser, report, 1280)
    pdf = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": False})["data"])
    assert pdf.startswith(b"%PDF") and len(re.findall(rb"/Type\s*/Page\b", pdf)) > 1


def test_a_report_during_a_running_suite_is_consistent(program, tmp_path):
    """A writer adds a perplexity to every method in one transaction; tables and figures must see all of it or none."""
    path = tmp_path / "results.db"
    db = results_database.create(path)
    suite = results_database.add_suite(db, seeds=(0,))
    db.execute("PRAGMA journal_mode = WAL")
    db.commit()
    stages = [row[0] for row in db.execute("SELECT id FROM stages WHERE kind = 'evaluate'")]
    assert suite and len(stages) == len(results_database.METHODS)
    db.close()
    done = threading.Event()
    rounds = []

    def write():
        writer = sqlite3.connect(path, timeout=30)
        value = 100
        while not done.is_set():
            value += 1
            writer.executemany("UPDATE metrics SET value = ? WHERE stage_id = ? AND name = 'perplexity'",
                               [(value, stage) for stage in stages])
            writer.commit()
        rounds.append(value - 100)
        writer.close()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        program.run("report", path, "--output", tmp_path / "r.html")
    finally:
        done.set()
        thread.join()
    assert rounds[0] > 10, "nothing was written meanwhile"
    text = (tmp_path / "r.html").read_text()
    section = text[text.index('id="table-perplexity"'):text.index('id="table-outliers"')]
    rows = dict(re.findall(r'<td class="left">(?:<\w+>)?(\w+)(?:</\w+>)?</td><td class="right">(?:<\w+>)?([\d.]+)', section))
    assert set(rows) == set(results_database.METHODS)
    assert len(set(rows.values())) == 1, rows
