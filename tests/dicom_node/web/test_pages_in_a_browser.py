"""The pages in a real browser: they load nothing foreign, break no policy of their own, and keep themselves fresh."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Request, expect, sync_playwright

from dicom_node.config import Settings, load_settings, result_digest
from dicom_node.data_folder import DataFolder
from dicom_node.jobs import JobBook
from dicom_node.steering import grant_wishes
from tests.dicom_node.web.conftest import Pages, served
from tests.dicom_node.web.ward_day import DESTINATIONS, WardDay
from tests.peers import chromium

pytestmark = pytest.mark.peers


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield started
        started.close()


class Watched:
    """A browser page with what it asked for and what it complained of."""

    def __init__(self, browser: Browser, scheme: str = "light") -> None:
        self.page: Page = browser.new_page(color_scheme=scheme, viewport={"width": 1360, "height": 900})
        self.complaints: list[str] = []
        self.hosts: set[str] = set()
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("requestfailed", lambda request: self.complaints.append(f"failed: {request.url}"))
        self.page.on("request", self._note)

    def _note(self, request: Request) -> None:
        self.hosts.add(urlsplit(request.url).netloc)


def channel(colour: str) -> list[float]:
    """Relative luminances of a computed colour's channels (WCAG 2.2)."""
    parts = [float(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    return [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]


def contrast(ink: str, paper: str) -> float:
    light, dark = sorted(
        (sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), channel(x), strict=True)) for x in (ink, paper)),
        reverse=True,
    )
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("path", ["/", "/?state=failed", "/jobs/refused0000000000004", "/jobs/running0000000000009"])
def test_a_page_loads_only_from_its_own_server_and_breaks_no_policy(browser: Browser, pages: Pages, path: str) -> None:
    watched = Watched(browser)
    watched.page.goto(pages.url + path, wait_until="networkidle" if "jobs/refused" in path else "load")
    assert watched.complaints == []
    assert watched.hosts == {urlsplit(pages.url).netloc}
    # htmx runs: without it the page would stand still
    assert watched.page.evaluate("htmx.version") == "2.0.11"
    watched.page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_state_and_cause_can_be_read_in_either_light(browser: Browser, pages: Pages, scheme: str) -> None:
    watched = Watched(browser, scheme)
    watched.page.goto(pages.url)
    read = """selector => [...document.querySelectorAll(selector)].map(e => {
        let p = e; while (getComputedStyle(p).backgroundColor === 'rgba(0, 0, 0, 0)') p = p.parentElement;
        return [e.textContent.trim(), getComputedStyle(e).color, getComputedStyle(p).backgroundColor]; })"""
    marked = watched.page.evaluate(read, ".pill, .cause td:last-child, .quiet, .parts span, dt, th, .tag")
    assert len(marked) > 30
    for text, ink, paper in marked:
        # WCAG 2.2, 1.4.3 level AA for text of normal size
        assert contrast(ink, paper) >= 4.5, f"{text!r}: {ink} on {paper}"
    watched.page.close()


@pytest.mark.parametrize("width", [1360, 1024, 390])
def test_nothing_is_wider_than_the_window(browser: Browser, pages: Pages, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900})
    for path in ("/", "/jobs/refused0000000000004"):
        page.goto(pages.url + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


def test_a_job_that_finishes_shows_itself_without_a_click_and_the_picture_is_there(
    browser: Browser, tmp_path: Path
) -> None:
    settings = load_settings(None, node={"data_dir": tmp_path, "port": 1}, destination=DESTINATIONS)
    DataFolder(tmp_path).prepare()
    node = WardDay(settings, datetime.now(UTC))
    job = node.order("job", 1.0)
    with served(settings) as pages:
        page = browser.new_page()
        page.goto(f"{pages.url}/jobs/job")
        expect(page.locator("h1 .pill")).to_have_text("waiting")
        result = node.measure(job)
        for name in ("pacs", "research"):
            node.deliver(result, name)
        expect(page.locator("h1 .pill")).to_have_text("delivered", timeout=15_000)
        expect(page.locator(".pictures img").first).to_be_visible()
        page.wait_for_function("document.querySelector('.pictures img').complete")
        assert page.evaluate("document.querySelector('.pictures img').naturalWidth") == 1024
        assert page.get_by_role("button").count() == 0, "nothing is left to be asked for"
        page.close()


def test_a_failed_job_is_tried_again_by_its_button(browser: Browser, tmp_path: Path) -> None:
    settings = load_settings(None, node={"data_dir": tmp_path, "port": 1})
    DataFolder(tmp_path).prepare()
    node = WardDay(settings, datetime.now(UTC))
    node.order("job", 1.0, failure="the disk was full", settings_digest=digest_of(settings))
    with served(settings) as pages:
        page = browser.new_page()
        page.goto(f"{pages.url}/jobs/job")
        expect(page.locator("p.cause")).to_have_text("the disk was full")
        page.get_by_role("button", name="Try again").click()
        expect(page.locator(".notice")).to_have_text("To be tried again: the worker has been told.")
        grant_wishes(settings)  # what the worker does when the page has rung its bell
        expect(page.locator("h1 .pill")).to_have_text("waiting", timeout=15_000)
        assert page.url == f"{pages.url}/jobs/job"
        page.close()
    assert (JobBook(node.folder.jobs).get("job").attempt, JobBook(node.folder.jobs).get("job").failure) == (1, None)


def test_cancelling_asks_first(browser: Browser, tmp_path: Path) -> None:
    settings = load_settings(None, node={"data_dir": tmp_path, "port": 1})
    DataFolder(tmp_path).prepare()
    node = WardDay(settings, datetime.now(UTC))
    job = node.order("job", 1.0)
    node.engine_states[job.workflow_id] = "ENQUEUED"
    node.write_engine()
    with served(settings) as pages:
        page = browser.new_page()
        page.goto(f"{pages.url}/jobs/job")
        button = page.get_by_role("button", name="Cancel the job")
        expect(button).to_be_hidden()
        page.get_by_role("link", name="Cancel").click()
        expect(button).to_be_visible()
        button.click()
        expect(page.locator(".notice")).to_have_text("To be cancelled: the worker has been told.")
        grant_wishes(settings)
        expect(page.locator("h1 .pill")).to_have_text("failed", timeout=15_000)
        expect(page.locator("p.cause")).to_have_text("cancelled by hand")
        page.close()
    assert JobBook(node.folder.jobs).get("job").failure == "cancelled by hand"


def test_a_page_whose_node_is_gone_says_that_it_is_out_of_date(browser: Browser, tmp_path: Path) -> None:
    settings = load_settings(None, node={"data_dir": tmp_path, "port": 1})
    DataFolder(tmp_path).prepare()
    page = browser.new_page()
    with served(settings) as pages:
        page.goto(pages.url)
        expect(page.get_by_role("alert")).to_be_hidden()
    expect(page.get_by_role("alert")).to_be_visible(timeout=20_000)
    assert "has not answered since" in page.get_by_role("alert").inner_text()
    page.close()


def digest_of(settings: Settings) -> str:
    return result_digest(settings, "default")
