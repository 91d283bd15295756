"""The pages over HTTP, from a real server on loopback."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from PIL import Image

from dicom_node.acquisition import ArrivalKind, Verdict
from dicom_node.config import load_settings, result_digest
from dicom_node.data_folder import DataFolder
from dicom_node.job_board import read_board
from dicom_node.job_progress import provisional_file
from dicom_node.jobs import JobBook
from dicom_node.spool import Spool
from dicom_node.steering import grant_wishes
from dicom_node.web import words
from dicom_node.wishes import Wish, WishBox
from reports.findings import Baseline, Comparison, LesionMatch
from reports.findings_json import from_json, to_json
from tests.dicom_node.web.conftest import Pages, all_parts_alive, free_port, served
from tests.dicom_node.web.ward_day import PATIENT_ID, PATIENT_NAME, WardDay

PLAIN_TEXT = re.compile(r"<[^>]+>")
FAILED = "refused0000000000004"
MEASURING = "running0000000000009"


def text_of(html: str) -> str:
    """What a reader sees, on one line."""
    return re.sub(r"\s+", " ", PLAIN_TEXT.sub(" ", html)).replace("&#39;", "'")


def test_the_operations_page_shows_every_job_with_its_state_and_cause(pages: Pages, day: WardDay) -> None:
    page = pages.get("/")
    assert page.status == 200
    for name, (state, cause) in day.expected.items():
        assert f"/jobs/{name}" in page.text
        assert words.state(state) in text_of(page.text)
        assert cause in text_of(page.text)


def test_a_state_can_be_picked_out(pages: Pages, day: WardDay) -> None:
    page = pages.get("/?state=failed").text
    shown = {name for name in day.expected if f"/jobs/{name}" in page}
    assert shown == {name for name, (state, _) in day.expected.items() if state == "failed"}


@pytest.mark.parametrize("query", ["?state=<script>", "?page=9999", "?page=-1", "?page=²", "?state=failed&page=x"])
def test_an_odd_query_shows_the_page_all_the_same(pages: Pages, query: str) -> None:
    path = "/" + query.replace("<", "%3C").replace(">", "%3E").replace("²", "%C2%B2")
    page = pages.get(path)
    assert page.status == 200
    assert "<script>" not in page.text


def test_no_page_names_a_patient_or_a_uid(pages: Pages, day: WardDay) -> None:
    """The patient key's word is all: a UID leads to the patient in any PACS."""
    paths = ["/", "/board", "/readyz", "/metrics", *(f"/jobs/{name}" for name in day.expected)]
    for path in paths:
        shown = pages.get(path).text
        for secret in (PATIENT_ID, PATIENT_NAME, "Musterfrau", "2.25."):
            assert secret not in shown, f"{secret} on {path}"


def test_the_jobs_page_shows_figures_with_units_limitations_and_the_ledger(pages: Pages) -> None:
    page = text_of(pages.get(f"/jobs/{FAILED}").text)
    assert "PE Peak enhancement 0.0412 a.u. 0.0383 to 0.0441 0.0198 a.u. 0.0184 to 0.0212 2.08 × 1.9 to 2.3" in page
    assert "−1.4 s" in page
    assert "No value: AT, FT" in page
    assert "refused no pixel spacing: areas and speeds are refused affects area" in page
    assert "sr.dcm not sent 1 try 0x0122: SOP class not supported" in page
    assert "sc_summary.dcm sent 1 try 0x0000: stored" in page
    assert "Super-resolution the pixels are not calibrated in mm" in page


def test_a_job_that_is_measured_shows_what_its_bubbles_drew_so_far(pages: Pages, day: WardDay) -> None:
    scratch = DataFolder(day.settings.node.data_dir).scratch
    scratch.mkdir(exist_ok=True)
    address = f"/jobs/{MEASURING}/provisional.png"
    assert pages.get(address).status == 404
    assert address not in pages.get(f"/jobs/{MEASURING}").text
    file = provisional_file(scratch, MEASURING)
    Image.new("RGB", (8, 4)).save(file)
    try:
        assert address in pages.get(f"/jobs/{MEASURING}").text
        picture = pages.get(address)
        assert (picture.status, picture.headers["content-type"]) == (200, "image/png")
        assert picture.body == file.read_bytes()
        assert pages.get("/jobs/..%2F..%2Fengine/provisional.png").status == 404
    finally:
        file.unlink()


def test_the_pictures_are_served_and_nothing_else_of_the_folder(pages: Pages) -> None:
    picture = pages.get(f"/jobs/{FAILED}/pictures/sc_summary.png")
    assert (picture.status, picture.headers["content-type"]) == (200, "image/png")
    assert picture.body.startswith(b"\x89PNG")
    for file in ("sr.dcm", "findings.json", "..%2F..%2F..%2Fengine.sqlite", "sc_none.png"):
        assert pages.get(f"/jobs/{FAILED}/pictures/{file}").status == 404


def test_an_unknown_job_gets_a_page_that_says_so(pages: Pages) -> None:
    answer = pages.get("/jobs/nosuchjob")
    assert answer.status == 404
    assert "there is no job nosuchjob" in answer.text


def test_only_a_job_that_may_still_change_is_asked_for_again(pages: Pages) -> None:
    assert "hx-trigger" in pages.get("/jobs/running0000000000009").text
    assert "hx-trigger" not in pages.get(f"/jobs/{FAILED}").text


def test_every_answer_forbids_inline_and_foreign_content(pages: Pages) -> None:
    for path in ("/", f"/jobs/{FAILED}", "/healthz", "/metrics", "/nowhere", "/static/style.css"):
        policy = pages.get(path).headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http:" not in policy
        assert pages.get(path).headers["x-content-type-options"] == "nosniff"


def test_a_foreign_page_cannot_press_the_buttons(pages: Pages, day: WardDay) -> None:
    own = pages.url.removeprefix("http://")
    for headers in (
        {"Origin": "https://evil.example", "Host": own},
        {"Sec_Fetch_Site": "cross-site", "Origin": pages.url, "Host": own},
        {"Sec_Fetch_Site": "same-site", "Host": own},
        {"Origin": "null", "Host": own},
        {"Host": own},
    ):
        for action in ("retry", "cancel", "confirm"):
            assert pages.ask("POST", f"/jobs/{FAILED}/{action}", **headers).status == 403
    assert WishBox(day.folder.wishes).waiting() == []


def test_a_button_writes_a_wish_and_rings_the_worker(tmp_path: Path) -> None:
    settings = load_settings(None, node={"data_dir": tmp_path, "port": 1}, audit={"enabled": True})
    DataFolder(tmp_path).prepare()
    node = WardDay(settings, datetime.now(UTC))
    node.order("job", 1.0, failure="the disk was full")
    spool = Spool(node.folder.spool)
    with served(settings) as pages:
        own = {"Sec_Fetch_Site": "same-origin", "Host": pages.url.removeprefix("http://")}
        answers = [pages.ask("POST", "/jobs/job/retry", **own) for _ in range(2)]
        unknown = pages.ask("POST", "/jobs/..%2Fjob/retry", **own), pages.ask("POST", "/jobs/nosuchjob/retry", **own)
    assert [(answer.status, answer.headers["location"]) for answer in answers] == [(303, "/jobs/job")] * 2
    assert [answer.status for answer in unknown] == [404, 404]
    assert WishBox(node.folder.wishes).waiting() == [Wish("job", "retry")]
    assert spool.doorbell.wait(0)
    audited = [line for file in DataFolder(tmp_path).audit.iterdir() for line in file.read_text().splitlines()]
    assert len(audited) == 2, "each press, and nothing for jobs that are not there"
    assert all('UserID="visitor@127.0.0.1"' in line and 'ParticipantObjectID="job"' in line for line in audited)


def compared(node: WardDay, name: str, *, confirmed: bool = False) -> None:
    """A job whose lesion was matched with an earlier one."""
    folder = node.measure(node.order(name, 1.0)).path
    findings = from_json((folder / "findings.json").read_text(encoding="utf-8"))
    baseline = Baseline("2.25.1", "2.25.2", datetime(2026, 11, 1, 9, 30, tzinfo=UTC), "nearest earlier within 72 h")
    comparison = Comparison(True, None, baseline, match=LesionMatch(None, confirmed))
    (folder / "findings.json").write_text(to_json(replace(findings, comparison=comparison)), encoding="utf-8")


def test_a_reader_confirms_a_lesion_match_under_his_name_and_it_is_audited(tmp_path: Path) -> None:
    settings = load_settings(None, node={"data_dir": tmp_path, "port": 1}, audit={"enabled": True})
    DataFolder(tmp_path).prepare()
    node = WardDay(settings, datetime.now(UTC))
    compared(node, "job")
    compared(node, "settled", confirmed=True)
    node.measure(node.order("alone", 1.0))
    question = "Is it the same lesion?"
    with served(settings) as pages:
        shown = {name: question in pages.get(f"/jobs/{name}").text for name in ("job", "settled", "alone")}
        own = {"Sec_Fetch_Site": "same-origin", "Host": pages.url.removeprefix("http://")}
        nameless = [
            pages.ask("POST", "/jobs/job/confirm", form, **own)
            for form in ("", "reader=", "reader=+", "reader=%00", f"reader={'x' * 65}", "x" * 5000)
        ]
        assert WishBox(node.folder.wishes).waiting() == []
        answer = pages.ask("POST", "/jobs/job/confirm", "reader=Dr.+M%C3%BCller+", **own)
        told = text_of(pages.get("/jobs/job").text)
    assert shown == {"job": True, "settled": False, "alone": False}
    assert {each.status for each in nameless} == {400, 413}
    assert "under the reader's name" in text_of(nameless[0].text)
    assert (answer.status, answer.headers["location"]) == (303, "/jobs/job")
    assert WishBox(node.folder.wishes).waiting() == [Wish("job", "confirm", "Dr. Müller")]
    assert "Lesion match confirmed: the worker has been told." in told
    assert question not in told
    (line,) = [line for file in DataFolder(tmp_path).audit.iterdir() for line in file.read_text().splitlines()]
    assert 'UserID="visitor@127.0.0.1"' in line
    assert 'UserName="Dr. Müller"' in line
    assert "confirm asked for on the page" in line


def test_a_wish_in_vain_is_dropped_and_the_others_are_granted(tmp_path: Path) -> None:
    settings = load_settings(None, node={"data_dir": tmp_path})
    DataFolder(tmp_path).prepare()
    node = WardDay(settings, datetime.now(UTC))
    node.order("job", 1.0, failure="the disk was full", settings_digest=result_digest(settings, "default"))
    box = WishBox(node.folder.wishes)
    for name in ("gone", "job"):
        box.put(Wish(name, "retry"))
    grant_wishes(settings)
    assert box.waiting() == []
    assert JobBook(node.folder.jobs).get("job").attempt == 1


def test_contours_that_wait_or_were_refused_are_seen_with_the_reason(tmp_path: Path) -> None:
    settings = load_settings(None, node={"data_dir": tmp_path})
    DataFolder(tmp_path).prepare()
    node = WardDay(settings, datetime.now(UTC))
    spool = Spool(node.folder.spool)
    marks = [Verdict.REFUSED.mark("it belongs to another patient"), Verdict.SET_ASIDE.mark("nothing"), "job", ""]
    for mark in marks:
        uid = node.arrive(5.0, kind=ArrivalKind.CONTOUR)
        if mark:
            spool.mark_consumed(uid, mark)
    with served(settings) as pages:
        said, metrics = text_of(pages.get("/").text), pages.get("/metrics").text
    assert "1 reader's contour refused , not measured: it belongs to another patient" in said
    assert "1 reader's contour received, waiting" in said.replace(" ,", ",")
    assert 'ceus_node_contours{state="refused"} 1.0' in metrics
    assert read_board(settings).counts()["contours waiting"] == 1


def test_a_rebound_name_is_not_served(pages: Pages) -> None:
    """DNS rebinding: evil.example made to resolve to 127.0.0.1 would else be same-origin with itself."""
    assert pages.get("/", Host="evil.example:8042").status == 421
    assert pages.get("/", Host=f"localhost:{pages.port}").status == 200
    assert pages.get("/", Host=f"[::1]:{pages.port}").status == 200


def test_other_methods_are_not_offered(pages: Pages) -> None:
    for method in ("PUT", "DELETE", "OPTIONS", "TRACE"):
        assert pages.ask(method, "/").status == 405
    assert pages.get(f"/jobs/{FAILED}/retry").status == 405


def test_the_process_lives_whatever_the_others_do(pages: Pages) -> None:
    answer = pages.get("/healthz")
    assert (answer.status, answer.json["status"]) == (200, "alive")


def test_not_ready_is_503_with_each_reason_and_ready_is_200(tmp_path: Path) -> None:
    settings = load_settings(None, node={"data_dir": tmp_path, "port": free_port()})
    DataFolder(tmp_path).prepare()
    with served(settings) as pages:
        answer = pages.get("/readyz")
    reasons = " ".join(answer.json["reasons"])
    assert answer.status == 503
    assert f"nothing listens on 127.0.0.1:{settings.node.port}" in reasons
    assert "no worker runs" in reasons
    assert "not created yet" in reasons


def test_ready_when_every_part_works(day: WardDay) -> None:
    with all_parts_alive(day.settings), served(day.settings) as pages:
        answer = pages.get("/readyz")
    assert (answer.status, answer.json["ready"], answer.json["reasons"]) == (200, True, [])


def test_an_empty_node_says_how_to_begin(tmp_path: Path) -> None:
    settings = load_settings(None, node={"data_dir": tmp_path, "ae_title": "CEUS_WARD3", "port": 11199})
    DataFolder(tmp_path).prepare()
    with served(settings) as pages:
        page = text_of(pages.get("/").text)
    assert "No cine has been measured yet." in page
    assert "AE title CEUS_WARD3 , 127.0.0.1:11199" in page


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.6, "1 min"),
        (100, "1 min 40 s"),
        (3600, "1 h"),
        (7500, "2 h 5 min"),
        (86399, "23 h 59 min"),
        (90000, "1 d 1 h"),
        (None, "–"),
    ],
)
def test_durations_are_short(seconds: float | None, text: str) -> None:
    assert words.duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.04123, "0.0412"), (-1.4, "−1.4"), (1234.4, "1234"), (2.5e-7, "2.50 × 10^−7"), (None, "–")],
)
def test_figures_have_three_significant_digits(value: float | None, text: str) -> None:
    assert words.number(value) == text
