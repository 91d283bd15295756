"""Whether a cine carries super-resolution at all, on which interval, and up to which speed.

What is measured decides, and what was measured is what the report says. Low frame rates: Opacic et al. 2018 (Nat Commun
9:1527), Kanoulas et al. 2019 (Invest Radiol 54:500); the trackable speed is the linking radius times the frame rate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from processing.bubble_loop import Bubbles
from processing.bubbles import Localizations
from processing.cine import Cine
from processing.limitations import Limitation

AFFECTS = ("super_resolution",)


@dataclass(frozen=True)
class SuitabilityParameters:
    """Limits below which super-resolution is not performed.

    fewest_frames, shortest_s, lowest_rate_hz: below, hardly a track has three localizations. lowest_range_db: displayed
    below full scale; with 20 dB positions are at 1.08 of the bound, with 15 at 1.22, from spots a quarter too narrow
    (bubbles 3 dB below full scale, seed 71). densest: share of the ROI covered by localized bubble images (half-maximum
    ellipses); at .05 three bubbles in ten are lost to overlap (flowing bubbles at 30 dB: found .92 at .010, .87 at
    .019, .80 at .036, .64 at .064). least_explained: share of the echo that localized bubbles explain; below .4 six
    bubbles in ten of a tree are lost (`explained_echo`), and the coding noise of their images passes for bubbles.
    lowest_snr_db: median bubble over noise. slowest_trackable_mm_per_s: a lower gate would follow capillaries only.
    reach_share: a link reaches to this share of the mean distance of neighbours; at .5 the tracker still has J = .97
    (docs). fewest_tracks: as for figures.
    """

    fewest_frames: int = 40
    shortest_s: float = 3.0
    lowest_rate_hz: float = 5.0
    lowest_range_db: float = 20.0
    densest: float = 0.05
    least_explained: float = 0.4
    lowest_snr_db: float = 10.0
    slowest_trackable_mm_per_s: float = 0.5
    reach_share: float = 0.5
    fewest_tracks: int = 20


def refusal(code: str, measured: str) -> Limitation:
    """Super-resolution not performed, with the measured reason."""
    return Limitation(code, f"Super-resolution not performed: {measured}.", "refused", AFFECTS)


def unfit_cine(cine: Cine, usable: NDArray[np.bool_], parameters: SuitabilityParameters) -> Limitation | None:
    """The first reason in the description of the cine; `usable`: bool (frame,), not rejected for motion."""
    frames, duration = int(usable.sum()), cine.duration_s
    if cine.spacing_mm is None:
        return refusal("sr_not_calibrated", "the image has no pixel spacing, so neither lengths nor speeds exist")
    if frames < parameters.fewest_frames:
        return refusal("sr_too_few_frames", f"{frames} usable frames, {parameters.fewest_frames} are needed")
    if duration < parameters.shortest_s:
        return refusal("sr_too_short", f"the loop lasts {duration:.1f} s, {parameters.shortest_s:.0f} s are needed")
    if cine.frame_rate_hz < parameters.lowest_rate_hz:
        return refusal(
            "sr_frame_rate", f"{cine.frame_rate_hz:.1f} frames a second, {parameters.lowest_rate_hz:.0f} are needed"
        )
    range_db = -10 * float(np.log10(cine.floor_au)) if cine.floor_au > 0 else np.inf
    if range_db < parameters.lowest_range_db:
        return refusal(
            "sr_dynamic_range", f"{range_db:.0f} dB are displayed, {parameters.lowest_range_db:.0f} dB are needed"
        )
    return None


def occupancy(
    localizations: Localizations, frames: int, fwhm_mm: tuple[float, float], area_mm2: float
) -> NDArray[np.float64]:
    """Share of the ROI covered by bubble images in each frame, float64 (frame,)."""
    count = np.bincount(localizations.frame, minlength=frames).astype(np.float64)
    return np.asarray(count * np.pi / 4 * fwhm_mm[0] * fwhm_mm[1] / area_mm2)


def separate_interval(
    covered: NDArray[np.float64], explained: NDArray[np.float64], rate_hz: float, parameters: SuitabilityParameters
) -> slice:
    """Longest run of frames in which single bubbles separate: averaged over a second, their images cover less than
    `densest` and explain at least `least_explained` of the echo (NaN: not known, coverage alone decides)."""
    apart = _over_a_second(covered, rate_hz) <= parameters.densest
    apart &= _over_a_second(np.where(np.isnan(explained), 1.0, explained), rate_hz) >= parameters.least_explained
    edges = np.flatnonzero(np.diff(np.concatenate([[0], apart.astype(np.int8), [0]])))
    runs = edges.reshape(-1, 2)
    if not len(runs):
        return slice(0, 0)
    first, last = runs[int(np.argmax(runs[:, 1] - runs[:, 0]))]
    return slice(int(first), int(last))


def _over_a_second(values: NDArray[np.float64], rate_hz: float) -> NDArray[np.float64]:
    width = max(round(rate_hz), 1)
    return np.convolve(np.pad(values, (width // 2, (width - 1) // 2), mode="edge"), np.ones(width) / width, "valid")


def too_dense(
    covered: NDArray[np.float64], explained: NDArray[np.float64], parameters: SuitabilityParameters
) -> Limitation:
    """Single bubbles separate nowhere long enough: by what was measured over the loop."""
    share = 100 * float(np.median(np.minimum(covered, 1.0)))
    measured = f"bubble images cover {share:.0f} % of the ROI, more than {100 * parameters.densest:.0f} %"
    if share <= 100 * parameters.densest and not np.isnan(explained).all():
        share, asked = 100 * float(np.nanmedian(explained)), 100 * parameters.least_explained
        measured = f"the bubbles found explain {share:.0f} % of the echo, {asked:.0f} % are needed"
    return refusal("sr_too_dense", f"{measured}: single bubbles do not separate")


def trackable_speed_mm_per_s(
    bubbles_per_mm2: float, rate_hz: float, gate_mm_per_s: float, parameters: SuitabilityParameters
) -> float:
    """The fastest bubble that can be told from its neighbours: a share of their mean distance, each frame.

    Neighbours of a Poisson field of density d lie 0.5 / sqrt(d) apart on average (Clark and Evans 1954).
    """
    if bubbles_per_mm2 <= 0:
        return gate_mm_per_s
    return min(gate_mm_per_s, parameters.reach_share * 0.5 / float(np.sqrt(bubbles_per_mm2)) * rate_hz)


def unfit_bubbles(bubbles: Bubbles, parameters: SuitabilityParameters) -> Limitation | None:
    """The first reason in what was localized."""
    found, tried = bubbles.localizations, np.isnan(bubbles.hopeless)
    if bubbles.calibrated_on == 0 or (not len(found) and tried.any()):
        return refusal(
            "sr_no_bubbles", f"no separate bubbles stand out of the noise ({len(found)} faint maxima in all)"
        )
    faint = np.isinf(bubbles.hopeless)
    if not tried.any() and not faint.all():
        share = 100 * float(np.median(bubbles.hopeless[~faint]))
        return refusal(
            "sr_too_dense", f"bubble images cover {share:.0f} % of the panel: single bubbles do not separate"
        )
    if bubbles.snr_db < parameters.lowest_snr_db:
        measured = (
            f"bubbles stand {bubbles.snr_db:.0f} dB above the noise, {parameters.lowest_snr_db:.0f} dB are needed"
        )
        return refusal("sr_too_faint", measured)
    return None
