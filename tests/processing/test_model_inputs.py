"""The maps that models see, against closed forms: a step of contrast at a known time, of a known height."""

from __future__ import annotations

import numpy as np
import pytest

from processing.cine import Cine, Spacing, TimeZero
from processing.errors import UnfitCineError
from processing.model_inputs import (
    FIRST,
    SMALL_PANEL_MM,
    ModelInputParameters,
    box_weights,
    model_inputs,
    parameters_of,
)

SPACING = Spacing(0.2, 0.2)


def stepped_cine(spacing: Spacing | None = SPACING, duration_s: float = 40.0) -> Cine:
    """Left half rises to 0.1 at 10 s, right half to 0.01 at 16 s; 4 s ramps; a strip at the right is not scanned."""
    times_s = np.arange(0, duration_s, 0.1)
    rise = [np.clip((times_s - start) / 4.0, 0, 1) for start in (10.0, 16.0)]
    contrast = np.full((times_s.size, 50, 60), 1e-5, np.float32)
    contrast[:, :, :30] += (0.1 * rise[0])[:, None, None].astype(np.float32)
    contrast[:, :, 30:] += (0.01 * rise[1])[:, None, None].astype(np.float32)
    valid = np.ones((50, 60), bool)
    valid[:, 55:] = False
    contrast[:, ~valid] = 0.9
    saturated = np.zeros((50, 60), np.uint32)
    return Cine(contrast, valid, saturated, 1e-6, times_s, TimeZero(), spacing, (0, 0))


def test_levels_are_decibels_below_full_scale_and_times_are_in_units_of_30_s() -> None:
    inputs = model_inputs(stepped_cine(), parameters=ModelInputParameters())
    assert inputs.maps.shape == (5, 40, 48)
    left, right = inputs.maps[:, 20, 10], inputs.maps[:, 20, 36]
    # 0.1 and 0.01 of full scale over a floor of 1e-5: 0.004 dB at most.
    assert left[0] == pytest.approx(-10, abs=0.01)
    assert right[0] == pytest.approx(-20, abs=0.01)
    # Mean over 40 s of a plateau from 12 s on (ramp's middle): 28/40; smoothing trims half a bin at both ends.
    assert left[1] == pytest.approx(-10 + 10 * np.log10(28 / 40), abs=0.1)
    # Six seconds between the halves; the threshold is reached later on the lower ramp by less than a bin of 0.5 s.
    assert 30 * (right[3] - left[3]) == pytest.approx(6.0, abs=0.5)
    # Half of the peak is reached 2 s after the ramp begins; the first level above the threshold comes within a bin.
    assert 30 * left[4] == pytest.approx(2.0, abs=0.6)


def test_the_unscanned_strip_lends_nothing_to_its_neighbours() -> None:
    """0.9 behind the burned-in strip would lift its neighbours to -4 dB."""
    inputs = model_inputs(stepped_cine(), parameters=ModelInputParameters())
    assert inputs.valid[:, :43].all()
    assert not inputs.valid[:, 45:].any()
    assert inputs.maps[0, 20, 43] == pytest.approx(-20, abs=0.01)
    assert inputs.maps[:, 20, 47].tolist() == [-60, -60, -60, 2, 0]


def test_rejected_frames_are_left_out() -> None:
    cine = stepped_cine()
    spoilt = cine.contrast.copy()
    spoilt[300:310] = 1.0
    rejected = np.zeros(cine.frame_times_s.size, bool)
    rejected[300:310] = True
    dirty = Cine(spoilt, cine.valid, cine.saturated, 1e-6, cine.frame_times_s, TimeZero(), cine.spacing_mm, (0, 0))
    assert model_inputs(dirty, rejected).maps[0, 20, 10] == pytest.approx(-10, abs=0.01)
    assert model_inputs(dirty).maps[0, 20, 10] > -3


@pytest.mark.parametrize(("longer_mm", "cell_mm"), [(SMALL_PANEL_MM, 0.125), (SMALL_PANEL_MM + 0.6, 0.25)])
def test_a_small_animal_s_panel_gets_cells_of_half_the_size(longer_mm: float, cell_mm: float) -> None:
    """60 columns; the number of cells follows from the panel's width."""
    inputs = model_inputs(stepped_cine(Spacing(0.2, longer_mm / 60)))
    assert inputs.cell_mm == cell_mm
    assert inputs.maps.shape[2] == int(np.ceil(longer_mm / cell_mm - 1e-6))


def test_a_model_of_the_first_preprocessing_still_gets_the_cells_it_was_trained_on() -> None:
    small = stepped_cine(Spacing(0.2, 0.2))
    assert parameters_of(small).cell_mm == 0.125
    assert model_inputs(small, parameters=parameters_of(small, FIRST)).cell_mm == 0.25


@pytest.mark.parametrize("pitch_mm", [0.05, 0.31, 1.0])
def test_a_cell_averages_the_millimetres_it_covers_whatever_the_pixels_are(pitch_mm: float) -> None:
    """Weights of a box of 0.75 mm around a cell's middle, against the overlap counted on a fine ruler."""
    weights = box_weights(20, pitch_mm, ModelInputParameters()).toarray()
    ruler_mm = (np.arange(200_000) + 0.5) * 20 * pitch_mm / 200_000
    for cell in (0, weights.shape[0] // 2):
        near = np.abs(ruler_mm - (cell + 0.5) * 0.25) < 0.375
        counted = np.bincount((ruler_mm[near] / pitch_mm).astype(int), minlength=20) * 20 * pitch_mm / 200_000
        # The ruler's step is 1e-4 pitches, at either end.
        assert weights[cell] == pytest.approx(counted, abs=3e-4 * pitch_mm)


@pytest.mark.parametrize(
    ("spacing", "duration_s", "code"),
    [(None, 40.0, "model_needs_calibration"), (SPACING, 2.0, "model_clip_too_short")],
)
def test_what_cannot_be_mapped_is_refused_by_name(spacing: Spacing | None, duration_s: float, code: str) -> None:
    with pytest.raises(UnfitCineError) as refused:
        model_inputs(stepped_cine(spacing, duration_s))
    assert refused.value.limitation.code == code
