"""What a curve cannot carry is refused by name; what it can is measured whatever surrounds it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from processing.perfusion import BolusFit, LevelQuality, fit_bolus
from processing.tic import Tic
from tests.accuracy.bolus_scenes import TrueCurve, density, frame_times, speckle, with_recirculation

TIME_S = frame_times(5.0, 90.0)
BOLUS = TrueCurve("log-normal", 2.0, 5.0, density("log-normal", 10.0, 0.5), 0.002)
TRUTH = BOLUS.truth()


def tic(power: NDArray[np.float64], time_s: NDArray[np.float64] = TIME_S) -> Tic:
    return Tic(time_s, power, np.zeros(time_s.size, np.bool_), "lesion")


def noisy(power: NDArray[np.float64], seed: int = 0) -> NDArray[np.float64]:
    return power * speckle(power.size, 100, np.random.default_rng(seed))


def codes(fit: BolusFit) -> dict[str, str]:
    return {limitation.code: limitation.severity for limitation in fit.limitations}


def test_a_whole_bolus_is_measured_without_reservation() -> None:
    fit = fit_bolus(tic(noisy(BOLUS.power(TIME_S))))
    assert fit.limitations == ()
    assert fit.metrics.peak_enhancement_au is not None
    # 100 speckles at 5 fps: PE within 4 % (tests/accuracy has the distribution).
    assert abs(fit.metrics.peak_enhancement_au.value / TRUTH["PE"] - 1) < 0.04
    assert fit.curve_au.shape == TIME_S.shape
    assert fit.metrics.quality_of_fit_percent is not None
    assert 90 < fit.metrics.quality_of_fit_percent.value < 100


def test_rejected_frames_do_not_move_the_fit() -> None:
    power = noisy(BOLUS.power(TIME_S))
    spoiled, rejected = power.copy(), np.zeros(TIME_S.size, np.bool_)
    rejected[60:70] = rejected[200:203] = True
    spoiled[rejected] = 50.0
    with_spoiled = fit_bolus(Tic(TIME_S, spoiled, rejected, "lesion"))
    without = fit_bolus(Tic(TIME_S, power, rejected, "lesion"))
    assert with_spoiled.metrics == without.metrics


def test_noise_without_a_bolus_is_no_bolus() -> None:
    for seed in range(10):
        rng = np.random.default_rng(seed)
        fit = fit_bolus(tic(0.1 * speckle(TIME_S.size, 50, rng, correlation_frames=3.0)))
        assert codes(fit) == {"no_enhancement": "refused"}
        assert fit.metrics.peak_enhancement_au is None
        assert np.isnan(fit.curve_au).all()


def test_a_flat_or_dark_curve_is_no_bolus() -> None:
    for level in (0.0, 0.3):
        assert codes(fit_bolus(tic(np.full(TIME_S.size, level)))) == {"no_enhancement": "refused"}


def test_too_few_frames_are_refused() -> None:
    few = slice(0, 12)
    assert codes(fit_bolus(tic(BOLUS.power(TIME_S[few]), TIME_S[few]))) == {"too_few_frames": "refused"}


def test_a_clip_that_ends_at_the_top_gives_timing_but_no_area() -> None:
    early = TRUTH["TTP"] + 4.0 > TIME_S
    fit = fit_bolus(tic(noisy(BOLUS.power(TIME_S))[early], TIME_S[early]))
    assert codes(fit)["clip_too_short"] == "refused"
    assert fit.metrics.auc_au_s is None
    assert fit.metrics.mean_transit_time_s is None
    assert fit.metrics.time_to_peak_s is not None
    assert fit.metrics.peak_enhancement_au is not None


def test_a_clip_that_ends_in_the_wash_in_gives_no_peak() -> None:
    rising = TRUTH["AT"] + 0.45 * TRUTH["RT"] > TIME_S
    fit = fit_bolus(tic(noisy(BOLUS.power(TIME_S))[rising], TIME_S[rising]))
    assert fit.metrics.peak_enhancement_au is None
    assert fit.metrics.auc_au_s is None


def test_a_clip_that_begins_after_arrival_gives_no_arrival() -> None:
    late = TRUTH["AT"] + 3.0 < TIME_S
    fit = fit_bolus(tic(noisy(BOLUS.power(TIME_S))[late], TIME_S[late]))
    assert codes(fit)["arrival_not_seen"] == "refused"
    assert fit.metrics.arrival_time_s is None
    assert fit.metrics.rise_time_s is None
    assert fit.metrics.time_to_peak_s is not None


def test_two_injections_are_not_measured_as_one() -> None:
    for height in (0.6, 1.0, 1.6):
        second = height * BOLUS.power(TIME_S - 45.0)
        fit = fit_bolus(tic(noisy(BOLUS.power(TIME_S) + second)))
        assert codes(fit).get("two_boluses") == "refused", height
        assert fit.metrics.time_to_peak_s is None


def test_recirculation_is_left_out_and_said() -> None:
    fit = fit_bolus(tic(noisy(with_recirculation(BOLUS, TIME_S, 0.2))))
    assert codes(fit) == {"recirculation": "note"}
    assert fit.window_s is not None
    assert fit.window_s[1] < TIME_S[-1]
    assert fit.metrics.auc_au_s is not None
    # Left in, this tail costs 13 % and more (docs/perfusion.md).
    assert abs(fit.metrics.auc_au_s.value / TRUTH["AUC"] - 1) < 0.08


def test_saturated_pixels_are_noted_then_degrade_amplitudes() -> None:
    power = noisy(BOLUS.power(TIME_S))
    assert codes(fit_bolus(tic(power), levels=LevelQuality(saturated_fraction=0.001))) == {}
    assert codes(fit_bolus(tic(power), levels=LevelQuality(saturated_fraction=0.005))) == {"roi_saturated": "note"}
    assert codes(fit_bolus(tic(power), levels=LevelQuality(saturated_fraction=0.02))) == {"roi_saturated": "degraded"}


def test_an_undeclared_dynamic_range_withholds_amplitudes_and_widens_timing() -> None:
    curve = tic(noisy(BOLUS.power(TIME_S)))
    known, unknown = fit_bolus(curve), fit_bolus(curve, levels=LevelQuality(dynamic_range_known=False))
    assert unknown.metrics.peak_enhancement_au is None
    assert unknown.metrics.auc_au_s is None
    assert unknown.unmasked.peak_enhancement_au is not None
    assert codes(unknown) == {"default_dynamic_range": "refused", "default_dynamic_range_ratios": "degraded"}
    for name in ("fall_time_s", "mean_transit_time_s", "time_to_peak_s"):
        narrow, wide = getattr(known.metrics, name), getattr(unknown.metrics, name)
        assert wide.value == narrow.value
        assert wide.low < narrow.low < narrow.high < wide.high
