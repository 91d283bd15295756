"""Presets: every one fits its own kind of curve."""

from __future__ import annotations

import numpy as np
import pytest

from processing.errors import InvalidValueError
from processing.perfusion import fit_bolus
from processing.protocols import PROTOCOLS, protocol_named
from processing.tic import Tic
from tests.accuracy.bolus_scenes import TrueCurve, density, frame_times, speckle


@pytest.mark.parametrize("name", sorted(PROTOCOLS))
def test_each_preset_measures_a_bolus_of_its_kind(name: str) -> None:
    quick = 0.2 if name == "small_animal" else 1.0
    bolus = TrueCurve("log-normal", 1.0, 5.0 * quick, density("log-normal", 10.0 * quick, 0.5), 0.001)
    time_s = frame_times(10.0 / quick, 80.0 * quick)
    power = bolus.power(time_s) * speckle(time_s.size, 100, np.random.default_rng(1))
    protocol = protocol_named(name)
    curve = Tic(time_s, power, np.zeros(time_s.size, np.bool_), "lesion")
    fit = fit_bolus(curve, protocol.fit, plausibility=protocol.plausibility)
    assert fit.limitations == ()
    assert fit.metrics.time_to_peak_s is not None
    # 100 speckles, 800 frames: the row of tests/accuracy allows 0.25 s on a rise of 10 s.
    assert fit.metrics.time_to_peak_s.value == pytest.approx(bolus.truth()["TTP"], abs=0.25 * quick)


def test_an_unknown_protocol_is_named_with_those_there_are() -> None:
    with pytest.raises(InvalidValueError, match="liver_bolus"):
        protocol_named("kidney")


def test_every_preset_says_where_it_comes_from_and_never_claims_success() -> None:
    for protocol in PROTOCOLS.values():
        assert len(protocol.source) > 40
        assert not {"complete", "success"} & set(protocol.title.lower().split())
