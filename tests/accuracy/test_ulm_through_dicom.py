"""Single bubbles end to end: a dual-view, log-compressed JPEG cine of a scanner, stored as DICOM, read and resolved."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from dicom_node.cine_reader import open_cine
from dicom_node.simulated_scanner import CineIdentity, write_cine
from dicom_node.super_resolution_stage import rest_of
from processing.cine import DisplayProfile
from processing.intake import examine, take_cine
from processing.motion import apply_motion, estimate_motion
from processing.roi import panel_roi
from processing.simulation.flow_phantom import BubbleFlow
from processing.simulation.flow_scenes import FlowParameters, flow_scene
from processing.simulation.scene import Timing
from processing.super_resolution import super_resolve


@pytest.mark.parametrize(
    ("rate_hz", "duration_s"),
    [
        (20.0, 10.0),
        # A track needs three frames, and 20 tracks are asked for: twice as long at 10 Hz.
        pytest.param(10.0, 20.0, marks=pytest.mark.full),
        pytest.param(30.0, 10.0, marks=pytest.mark.full),
    ],
)
def test_a_clinical_cine_gives_its_vessels_through_dicom(tmp_path: Path, rate_hz: float, duration_s: float) -> None:
    parameters = FlowParameters()
    scene = flow_scene(
        replace(parameters, timing=Timing(60.0, duration_s, rate_hz), flow=BubbleFlow(bubbles_per_s=2.0)), seed=9001
    )
    source = open_cine(write_cine(scene, tmp_path, CineIdentity(datetime(2026, 1, 15, tzinfo=UTC), study="bubbles")))
    examination = examine(source, DisplayProfile(dynamic_range_db=parameters.display.dynamic_range_db))
    assert examination.evidence.found
    cine = take_cine(source, examination).cine
    motion = estimate_motion(cine)
    cine = apply_motion(cine, motion)
    result = super_resolve(cine, panel_roi(cine.valid), rest_of(motion))
    assert result.performed, result.reason
    assert result.bed is not None
    assert result.tracks is not None
    truth = scene.truth.flow
    assert truth is not None
    # The panel is found to a pixel on the screen: positions are compared within the panel that the truth is drawn in.
    spacing, box = cine.spacing_mm, scene.truth.contrast
    assert spacing is not None
    shift = (cine.origin_px[0] - box.y0) * spacing.z_mm, (cine.origin_px[1] - box.x0) * spacing.x_mm
    way = np.column_stack([truth.z_mm, truth.x_mm])
    points = np.column_stack([result.tracks.z_mm + shift[0], result.tracks.x_mm + shift[1]])[::10]
    nearest = np.array([np.hypot(*(way - point).T).min() for point in points])
    # A pixel is 0.147 mm: half of the points lie within a sixth of one of a true way, nine tenths within the vessel.
    assert np.median(nearest) < 0.025
    assert np.percentile(nearest, 90) < 0.2
    speed = result.bed.metrics.speed_mean_mm_per_s
    assert speed.low is not None
    assert speed.high is not None
    assert speed.low < truth.speed_mm_per_s.mean() < speed.high
