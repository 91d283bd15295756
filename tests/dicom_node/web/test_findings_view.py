"""findings.json as tables: everything that was measured is there with its unit, and no UID is."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from dicom_node.web.application import templates
from dicom_node.web.findings_view import Figure, FindingsView, findings_view
from reports.findings import (
    Baseline,
    Change,
    Comparison,
    Heterogeneity,
    Quantity,
    Response,
    RoiPerfusion,
    SpeedSummary,
    SuperResolution,
    Washout,
)
from reports.findings_json import to_json
from tests.dicom_node.web.ward_day import findings

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def full_view() -> FindingsView:
    plain = findings(NOW, contrast=True)
    by_label = {**plain.perfusion.by_label}
    lesion = by_label["lesion"]
    by_label["lesion"] = RoiPerfusion(lesion.metrics, Heterogeneity(cov=0.42))
    perfusion = replace(plain.perfusion, by_label=by_label, washout=Washout(51.0, {"30": -1.5, "60": 2.5, "120": None}))
    speed = Quantity(3.25, "mm/s", 3.0, 3.5)
    full = replace(
        plain,
        perfusion=perfusion,
        super_resolution=SuperResolution(
            performed=True,
            reason=None,
            localizations=41234,
            interval_s=58.5,
            psf_fwhm_mm=(0.41, 0.77),
            speed_mm_s=SpeedSummary(speed, speed, speed),
        ),
        response=Response(
            performed=True,
            reason=None,
            state="shadow",
            probabilities={"responsive": 0.71, "stable": 0.2, "non_responsive": 0.09},
            abstained=False,
            label_text="Predicted, not observed; trained on simulated data",
        ),
        comparison=Comparison(
            performed=True,
            reason=None,
            baseline=Baseline("2.25.777", "2.25.888", NOW, "the latest before treatment"),
            hours_since=72.0,
            changes={
                "PE_ratio": Change(Quantity(1.0, "{ratio}"), Quantity(0.5, "{ratio}"), percent=-50.0),
                "PE": Change(Quantity(1.0, "[arb'U]"), Quantity(0.5, "[arb'U]"), reason="the gain differs"),
            },
        ),
    )
    return findings_view(json.loads(to_json(full)))


def table(view: FindingsView, title: str) -> dict[str, Any]:
    found = next(table for table in view.tables if table.title == title)
    return {row.meaning: row.figures[0] for row in found.rows}


def test_plain_numbers_get_the_unit_of_their_name() -> None:
    view = full_view()
    washout = table(view, "Wash-out against the reference")
    assert washout["onset"] == Figure(51.0, "s")
    assert washout["level · 30"] == Figure(-1.5, "dB")
    resolved = table(view, "Super-resolution")
    assert resolved["localizations"] == Figure(41234.0, "")
    assert resolved["interval"] == Figure(58.5, "s")
    assert resolved["psf fwhm"] == "0.41 × 0.77 mm"
    assert resolved["speed · median"] == Figure(3.25, "mm/s", 3.0, 3.5)
    assert table(view, "Heterogeneity, lesion")["cov"] == Figure(0.42, "")
    compared = table(view, "Comparison with the baseline")
    assert compared["hours since"] == Figure(72.0, "h")
    (changes,) = (found for found in view.tables if found.title == "Changes")
    assert changes.columns == ("before", "now", "change", "against variability")
    ratio, absolute = (row.figures for row in changes.rows)
    assert ratio == (Figure(1.0, "{ratio}"), Figure(0.5, "{ratio}"), Figure(-50.0, "%"), "variability unknown")
    assert absolute[2:] == ("the gain differs", "")


def test_a_response_computed_in_the_shadow_is_shown_with_its_label() -> None:
    """models.md: in findings and on the page, not in the PACS; the label says what it is."""
    response = table(full_view(), "Predicted response")
    assert response["probabilities · responsive"] == Figure(0.71, "")
    assert response["state"] == "shadow"
    assert response["abstained"] == "no"
    assert response["label text"].startswith("Predicted, not observed")


def test_what_was_not_performed_says_why() -> None:
    view = findings_view(json.loads(to_json(findings(NOW, contrast=False))))
    assert dict(view.not_performed)["Super-resolution"] == "the pixels are not calibrated in mm"
    assert view.tables == ()


def test_no_uid_of_a_baseline_reaches_the_page() -> None:
    shown = repr(full_view())
    assert "2.25.777" not in shown
    assert "2.25.888" not in shown
    assert "the latest before treatment" in shown


def test_words_and_figures_are_rendered_alike() -> None:
    template = templates().get_template("figure.html")
    assert "0.41 × 0.77 mm" in template.render(figure="0.41 × 0.77 mm")
    assert "3 to 3.5" in template.render(figure=Figure(3.25, "mm/s", 3.0, 3.5))
    assert "–" in template.render(figure=None)
