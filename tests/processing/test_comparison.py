"""Lesion against reference, wash-out, the reference's place, heterogeneity."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from processing.cine import Spacing, TimeZero
from processing.comparison import amplitude_ratios, time_differences_s
from processing.errors import UnfitCineError
from processing.heterogeneity import heterogeneity
from processing.perfusion import LevelQuality, fit_bolus
from processing.reference_roi import choose_reference
from processing.roi import Roi
from processing.tic import Tic
from processing.washout import wash_out
from tests.accuracy.bolus_scenes import TrueCurve, density, frame_times, speckle

TIME_S = frame_times(5.0, 150.0)
LESION = TrueCurve("log-normal", 4.0, 4.0, density("log-normal", 8.0, 0.5), 0.002)
LIVER = TrueCurve("log-normal", 12.0, 6.0, density("log-normal", 18.0, 0.8), 0.002)


def tic(power: NDArray[np.float64], label: str, seed: int | None = None, time_s: NDArray[np.float64] = TIME_S) -> Tic:
    if seed is not None:
        power = power * speckle(power.size, 100, np.random.default_rng(seed))
    return Tic(time_s, power, np.zeros(time_s.size, np.bool_), label)


def test_ratios_and_differences_are_those_of_the_truth() -> None:
    one, other = LESION.truth(), LIVER.truth()
    lesion = fit_bolus(tic(LESION.power(TIME_S), "lesion", 1))
    liver = fit_bolus(tic(LIVER.power(TIME_S), "reference", 2))
    for name, ratio in amplitude_ratios(lesion, liver).items():
        # Two curves of 100 speckles at 5 fps: slopes err by 7 % each, so 10 % together.
        assert ratio.value == pytest.approx(one[name] / other[name], rel=0.10), name
        assert ratio.low is not None
        assert ratio.high is not None
        assert ratio.low < ratio.value < ratio.high
    differences = time_differences_s(lesion, liver)
    for name in ("AT", "TTP"):
        assert differences[name].value == pytest.approx(one[name] - other[name], abs=0.4), name
    assert set(differences) == {"AT", "TTP", "RT", "FT", "mTT"}


def test_an_unknown_range_keeps_ratios_with_wider_intervals_and_order_alone_gives_none() -> None:
    curves = tic(LESION.power(TIME_S), "lesion", 1), tic(LIVER.power(TIME_S), "reference", 2)

    def peak_ratio(levels: LevelQuality) -> tuple[float, float] | None:
        fits = [fit_bolus(curve, levels=levels) for curve in curves]
        found = amplitude_ratios(*fits).get("PE")
        return None if found is None or found.low is None or found.high is None else (found.low, found.high)

    known, unknown = peak_ratio(LevelQuality()), peak_ratio(LevelQuality(dynamic_range_known=False))
    assert known is not None
    assert unknown is not None
    assert unknown[0] < known[0] < known[1] < unknown[1]
    assert peak_ratio(LevelQuality(order_only=True)) is None


def test_the_onset_of_wash_out_is_where_the_lesion_falls_behind() -> None:
    lesion = wash_out(
        tic(LESION.power(TIME_S), "lesion"), tic(LIVER.power(TIME_S), "reference"), TimeZero("bolus start")
    )
    fine = np.linspace(0.0, 150.0, 150001)
    behind = 10.0 * np.log10(LESION.power(fine) / LIVER.power(fine)) < -1.5
    after_peak = fine > LESION.truth()["TTP"]
    onset = float(fine[behind & after_peak][0])
    assert lesion.onset_s == pytest.approx(onset, abs=0.5)  # frames every 0.2 s, smoothed over 3 s
    for at in (30, 60, 120):
        now = np.array([float(at)])
        truth = float(10.0 * np.log10(LESION.power(now) / LIVER.power(now))[0])
        assert lesion.level_db[at] == pytest.approx(truth, abs=0.1), at
    assert lesion.limitations == ()


def test_without_an_injection_time_there_is_no_onset_in_seconds_after_injection() -> None:
    found = wash_out(tic(LESION.power(TIME_S), "lesion"), tic(LIVER.power(TIME_S), "reference"), TimeZero())
    assert found.onset_s is None
    assert set(found.level_db.values()) == {None}
    assert found.onset_after_arrival_s is not None
    assert [limitation.code for limitation in found.limitations] == ["injection_time_unknown"]


def test_a_lesion_as_bright_as_the_liver_never_washes_out() -> None:
    pair = tic(LIVER.power(TIME_S), "lesion", 3), tic(LIVER.power(TIME_S), "reference", 4)
    assert wash_out(*pair, TimeZero("bolus start")).onset_s is None


def test_a_short_dip_is_no_wash_out() -> None:
    power = LIVER.power(TIME_S)
    power[(TIME_S > 50) & (TIME_S < 57)] *= 0.4
    assert (
        wash_out(tic(power, "lesion"), tic(LIVER.power(TIME_S), "reference"), TimeZero("bolus start")).onset_s is None
    )


def disc(centre: tuple[int, int], radius: float, shape: tuple[int, int] = (200, 300)) -> NDArray[np.bool_]:
    z, x = np.indices(shape)
    return (z - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2


def test_the_reference_lies_at_the_same_depth_beside_the_lesion() -> None:
    lesion = Roi(disc((100, 90), 30), "lesion", "file")
    valid = np.ones((200, 300), np.bool_)
    reference = choose_reference(lesion, valid, Spacing(0.25, 0.25))
    rows, columns = np.nonzero(reference.mask)
    assert reference.label == "reference"
    assert rows.min() >= 70
    assert rows.max() <= 130
    assert columns.min() > 120  # the wider side
    assert not (reference.mask & disc((100, 90), 30 + 11)).any()  # 3 mm = 12 px away
    assert lesion.mask.sum() * 0.5 < reference.mask.sum() < lesion.mask.sum() * 2.2


def test_a_lesion_that_fills_the_panel_has_no_reference() -> None:
    lesion = Roi(disc((100, 150), 148), "lesion", "file")
    with pytest.raises(UnfitCineError) as refused:
        choose_reference(lesion, np.ones((200, 300), np.bool_), None)
    assert refused.value.limitation.code == "no_reference"


def test_heterogeneity_has_the_values_of_its_definitions() -> None:
    # Uniform on [1, 3]: sd = 2/sqrt(12), quartiles 1.5 and 2.5, 32 equally likely bins.
    values = np.linspace(1.0, 3.0, 320001)
    found = heterogeneity(values)
    assert found is not None
    assert found.cov == pytest.approx(2 / np.sqrt(12) / 2.0, rel=1e-4)
    assert found.quartile_coefficient == pytest.approx(0.25, rel=1e-4)
    assert found.entropy == pytest.approx(5.0, abs=1e-4)
    same = heterogeneity(np.full(50, 2.0))
    assert same is not None
    assert (same.cov, same.entropy, same.quartile_coefficient) == (0.0, 0.0, 0.0)
    assert heterogeneity(np.full(20, np.nan)) is None
