"""The stage of before and after: what it hands to the report, to the picture and to the identity of every object."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dicom_node.analysis import Analysis
from dicom_node.cine_reader import open_cine
from dicom_node.comparing import Earlier, with_comparison
from dicom_node.config import Settings, load_settings
from dicom_node.earlier_results import EarlierResult, from_folders
from dicom_node.simulated_scanner import CineIdentity, write_cine
from processing.limitations import Limitation
from processing.simulation.scenes import TINY_BOLUS, bolus_scene
from reports.comparable import ComparableResult
from reports.findings import Quantity
from reports.uids import ResultIdentity
from tests.dicom_node.history_scenes import History, Study

MINE = {"PatientID": "SIM-0001", "PatientBirthDate": "", "PatientSex": "O"}
NOW, BEFORE = Study(0, ratio=1.5, attributes=MINE), Study(-24, ratio=2.0, attributes=MINE)
SETTINGS: Settings = load_settings(None, analysis={"protocol": "bedside_bolus"})


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    """Today's study as if it had just been measured."""
    cine = write_cine(bolus_scene(TINY_BOLUS, seed=5), tmp_path_factory.mktemp("cine"), CineIdentity(NOW.at))
    identity = ResultIdentity("today", ("2.25.1",), "settings", "0.1.0")
    return Analysis(NOW.findings(), identity, open_cine(cine))


@pytest.fixture
def baseline(tmp_path: Path) -> EarlierResult:
    return one_result(tmp_path, BEFORE)


def one_result(folder: Path, study: Study) -> EarlierResult:
    job = History(folder / "node").measure(study)
    (found,) = from_folders([folder / "node" / "results" / job.acquisition / job.name])
    return replace(found, job=job)


def test_a_result_with_another_baseline_is_another_result(analysis: Analysis, baseline: EarlierResult) -> None:
    alone, compared = (with_comparison(analysis, Earlier(known), SETTINGS) for known in ((), (baseline,)))
    again = with_comparison(analysis, Earlier((baseline,), occasion="a job"), SETTINGS)
    assert len({made.identity.uid("sr") for made in (alone, compared, again)}) == 3
    assert compared.findings.comparison.performed
    assert not alone.findings.comparison.performed
    assert alone.findings.comparison.reason == "no earlier result of this patient"


def test_the_lesion_keeps_its_own_tracking_uid_until_a_reader_confirms(
    analysis: Analysis, baseline: EarlierResult
) -> None:
    (earlier,) = baseline.result.lesions
    matched = with_comparison(analysis, Earlier((baseline,)), SETTINGS).findings
    confirmed = with_comparison(analysis, Earlier((baseline,), confirmed_lesion=earlier), SETTINGS).findings
    assert matched.rois[0].tracking_uid != earlier
    assert confirmed.rois[0].tracking_uid == earlier
    assert confirmed.rois[1].tracking_uid == matched.rois[1].tracking_uid, "only the lesion was confirmed"
    for findings, sure in ((matched, False), (confirmed, True)):
        assert findings.comparison.match is not None
        assert findings.comparison.match.confirmed is sure


def test_only_a_baseline_of_another_version_is_measured_again(
    analysis: Analysis, baseline: EarlierResult, tmp_path: Path
) -> None:
    asked: list[EarlierResult] = []

    def again(earlier: EarlierResult) -> ComparableResult:
        asked.append(earlier)
        values = {**earlier.result.values, "PE_ratio": Quantity(3.0, "{ratio}")}
        return replace(earlier.result, values=values)

    kept = with_comparison(analysis, Earlier((baseline,), remeasure=again), SETTINGS).findings.comparison
    assert asked == []
    assert kept.changes["PE_ratio"].percent == pytest.approx(-25.0)  # 2.0 -> 1.5
    old = one_result(tmp_path / "old", replace(BEFORE, software="0.0.9"))
    renewed = with_comparison(analysis, Earlier((old,), remeasure=again), SETTINGS).findings.comparison
    assert asked == [old]
    assert renewed.remeasured
    assert renewed.changes["PE_ratio"].percent == pytest.approx(-50.0)  # 3.0 -> 1.5
    gone = with_comparison(analysis, Earlier((old,)), SETTINGS).findings.comparison
    assert gone.remeasured is False
    assert any(words.startswith("software: ceus-node 0.0.9 then") for words in gone.settings_differ)


def test_a_pacs_that_did_not_answer_is_a_limitation_of_the_findings(
    analysis: Analysis, baseline: EarlierResult
) -> None:
    silent = Limitation("priors_not_asked", "pacs could not be asked", "degraded", ("comparison",))
    found = with_comparison(analysis, Earlier((baseline,), limitations=(silent,)), SETTINGS).findings
    assert found.comparison.performed, "what is known here is compared all the same"
    assert silent in found.quality.limitations


def test_a_cine_without_contrast_is_compared_with_nothing(analysis: Analysis, baseline: EarlierResult) -> None:
    quality = replace(analysis.findings.quality, contrast_found=False)
    dark = replace(analysis, findings=replace(analysis.findings, quality=quality))
    assert with_comparison(dark, Earlier((baseline,)), SETTINGS) is dark


def test_a_baselines_page_that_is_not_the_one_it_names_is_not_shown(
    analysis: Analysis, baseline: EarlierResult, tmp_path: Path
) -> None:
    assert with_comparison(analysis, Earlier((baseline,)), SETTINGS).baseline is None
    write_cine(bolus_scene(TINY_BOLUS, seed=5), tmp_path, CineIdentity(NOW.at)).replace(baseline.summary)
    assert with_comparison(analysis, Earlier((baseline,)), SETTINGS).baseline is None
