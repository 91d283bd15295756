"""Super-resolution (ultrasound localization microscopy) of a cine: from linear echo power to vessels and their figures.

An unfit cine gives `performed` False and the measured reason, never an exception and never a forced figure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from processing.bubble_loop import (
    BubbleParameters,
    Bubbles,
    FrameMotion,
    Progress,
    localize_loop,
    no_motion,
    safe_inside,
)
from processing.bubbles import Localizations, Tracks, no_localizations
from processing.cine import Cine
from processing.limitations import Limitation
from processing.metrics import Estimate
from processing.roi import Roi
from processing.suitability import (
    AFFECTS,
    SuitabilityParameters,
    occupancy,
    refusal,
    separate_interval,
    too_dense,
    trackable_speed_mm_per_s,
    unfit_bubbles,
    unfit_cine,
)
from processing.track import TrackingParameters, track
from processing.vascular_bed import BedParameters, VascularBed, vascular_bed


@dataclass(frozen=True)
class SuperResolutionParameters:
    """Parameters of every stage."""

    bubbles: BubbleParameters = field(default_factory=BubbleParameters)
    tracking: TrackingParameters = field(default_factory=TrackingParameters)
    suitability: SuitabilityParameters = field(default_factory=SuitabilityParameters)
    bed: BedParameters = field(default_factory=BedParameters)


@dataclass(frozen=True, eq=False)
class SuperResolution:
    """The result, or why there is none: `performed` False, `reason`, and a refused limitation.

    localizations: all of the ROI, whole loop. tracks: of the interval used, which lasts interval_s and begins first_s
    after the cine's time zero. psf_fwhm_mm: (z, x). None: cannot be stated.
    """

    performed: bool
    reason: str | None
    limitations: tuple[Limitation, ...]
    localizations: Localizations = field(default_factory=no_localizations)
    tracks: Tracks | None = None
    bed: VascularBed | None = None
    interval_s: float | None = None
    first_s: float | None = None
    trackable_speed_mm_per_s: float | None = None
    psf_fwhm_mm: tuple[float, float] | None = None
    localization_precision_um: Estimate | None = None


def refused(limitation: Limitation, bubbles: Bubbles | None = None) -> SuperResolution:
    """No result, for this reason; what was localized so far stays."""
    found = no_localizations() if bubbles is None else bubbles.localizations
    return SuperResolution(False, limitation.text, (limitation,), found)


def super_resolve(
    cine: Cine,
    roi: Roi,
    motion: FrameMotion | None = None,
    parameters: SuperResolutionParameters | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> SuperResolution:
    """Super-resolve the ROI of a cine. `motion` None: nobody measured it, and a limitation says so."""
    chosen = parameters or SuperResolutionParameters()
    moved = motion or no_motion(len(cine.contrast))
    if (unfit := unfit_cine(cine, ~moved.rejected, chosen.suitability)) is not None:
        return refused(unfit)
    inside = safe_inside(cine, roi.mask)
    if not inside.any():
        return refused(
            refusal("sr_nothing_scanned", f"no scanned pixel of the {roi.label} ROI lies clear of furniture")
        )
    bubbles = _localize(cine, inside, moved, chosen.bubbles, progress)
    if (unfit := unfit_bubbles(bubbles, chosen.suitability)) is not None:
        return refused(unfit, bubbles)
    return follow(cine, inside, bubbles, moved, chosen, notes(bubbles, motion))


MARGIN_PX = 16
"""Around the ROI, twice the widest PSF seen (8 px): the noise and the neighbours of a bubble at the edge are in it."""


def _localize(
    cine: Cine,
    inside: NDArray[np.bool_],
    motion: FrameMotion,
    parameters: BubbleParameters,
    progress: Callable[[Progress], None] | None,
) -> Bubbles:
    """Localize in the ROI's surroundings only: the time goes with the area, and nothing else is reported."""
    assert cine.spacing_mm is not None  # noqa: S101 - unfit_cine refused it
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    z = slice(max(int(rows[0]) - MARGIN_PX, 0), int(rows[-1]) + 1 + MARGIN_PX)
    x = slice(max(int(columns[0]) - MARGIN_PX, 0), int(columns[-1]) + 1 + MARGIN_PX)
    part = replace(
        cine, contrast=cine.contrast[:, z, x], valid=cine.valid[z, x], saturated=cine.saturated[z, x], bmode=None
    )
    z_mm, x_mm = z.start * cine.spacing_mm.z_mm, x.start * cine.spacing_mm.x_mm

    def placed(found: Localizations) -> Localizations:
        return replace(found, z_mm=found.z_mm + z_mm, x_mm=found.x_mm + x_mm)

    def shown(done: Progress) -> None:
        if progress is not None:
            progress(replace(done, provisional=placed(done.provisional)))

    bubbles = localize_loop(part, inside[z, x], motion, parameters, shown)
    return replace(bubbles, localizations=placed(bubbles.localizations))


def notes(bubbles: Bubbles, motion: FrameMotion | None) -> tuple[Limitation, ...]:
    """What weakens the figures without forbidding them."""
    said = []
    if motion is None:
        text = "Motion was not measured: vessels may be blurred by breathing."
        said.append(Limitation("sr_motion_unknown", text, "degraded", AFFECTS))
    if bubbles.saturated_share > 0.02:
        text = (
            f"{100 * bubbles.saturated_share:.0f} % of the bubbles stand at full scale; their positions are less exact."
        )
        said.append(Limitation("sr_saturated_bubbles", text, "degraded", AFFECTS))
    return tuple(said)


def follow(
    cine: Cine,
    inside: NDArray[np.bool_],
    bubbles: Bubbles,
    motion: FrameMotion,
    parameters: SuperResolutionParameters,
    said: tuple[Limitation, ...],
) -> SuperResolution:
    """Choose the interval, track, draw and measure."""
    assert cine.spacing_mm is not None  # noqa: S101 - unfit_cine refused it
    rules, found, rate = parameters.suitability, bubbles.localizations, cine.frame_rate_hz
    area = float(inside.sum()) * cine.spacing_mm.z_mm * cine.spacing_mm.x_mm
    covered = occupancy(found, len(cine.contrast), bubbles.fwhm_mm, area)
    covered = np.where(np.isnan(bubbles.hopeless), covered, bubbles.hopeless)
    used = separate_interval(covered, bubbles.explained, rate, rules)
    if used.stop - used.start < rules.fewest_frames:
        return refused(too_dense(covered, bubbles.explained, rules), bubbles)
    times = cine.frame_times_s
    seconds = float(times[used.stop - 1] - times[used.start] + 1 / rate)
    here = found.part((found.frame >= used.start) & (found.frame < used.stop))
    frames = int((~motion.rejected[used]).sum())
    gate = trackable_speed_mm_per_s(
        len(here) / max(frames, 1) / area, rate, parameters.tracking.max_speed_mm_per_s, rules
    )
    if gate < rules.slowest_trackable_mm_per_s:
        measured = f"at {rate:.1f} frames a second only {gate:.2f} mm/s could be followed among so many bubbles"
        return refused(refusal("sr_too_slow", measured), bubbles)
    tracking = replace(parameters.tracking, max_speed_mm_per_s=gate)
    tracks = track(here, times, area, tracking, bubbles.fwhm_mm)
    # Rows of `here` lie behind those before the interval.
    before = int((found.frame < used.start).sum())
    tracks = replace(tracks, localization=np.where(tracks.seen, tracks.localization + before, -1))
    bed = vascular_bed(tracks, inside, cine.spacing_mm, seconds, parameters.bed)
    if bed is None:
        measured = f"{len(tracks)} tracks were found in {len(here)} localizations, {rules.fewest_tracks} are needed"
        return refused(refusal("sr_too_few_tracks", measured), bubbles)
    return SuperResolution(
        True, None, (*said, *part_of_loop(seconds, cine.duration_s), COUNTS_WHAT_WAS_SEEN, *short_of(bed)),
        found, tracks, bed, seconds,
        float(times[used.start]), gate, bubbles.fwhm_mm, precision_um(here),
    )  # fmt: skip


COUNTS_WHAT_WAS_SEEN = Limitation(
    "sr_counts_what_was_seen",
    "Covered area is of the ways that bubbles were followed on, across gaps of up to a second. Counts and flux are "
    "estimated from bubbles that came or went apart from others: they hold where bubbles arrive independently.",
    "note",
    ("perfusion_density",),
)
"""Of 24 simulated trees in which 29 % of the bubbles are hidden area reads .98, count and flux .99 of the truth."""


def part_of_loop(used_s: float, loop_s: float) -> tuple[Limitation, ...]:
    """Said where more than a tenth of the loop was left out."""
    if used_s > 0.9 * loop_s:
        return ()
    text = f"Single bubbles separate during {used_s:.1f} of {loop_s:.1f} s: super-resolution rests on that part alone."
    return (Limitation("sr_part_of_loop", text, "note", AFFECTS),)


def short_of(bed: VascularBed) -> tuple[Limitation, ...]:
    """Which figures of a performed super-resolution could not be stated, and why."""
    missing = []
    if bed.metrics.area_percent_rarefied is None:
        text = (
            f"Tracks hold fewer than {bed.metrics.rarefied_to} positions: perfusion density cannot be rarefied to so "
            "many, so it must not be compared between studies."
        )
        missing.append(Limitation("sr_not_rarefied", text, "degraded", ("perfusion_density",)))
    if bed.frc_resolution_um is None:
        text = "The two halves of the tracks do not correlate enough to state a resolution."
        missing.append(Limitation("sr_no_frc", text, "note", ("frc_resolution_um",)))
    if bed.metrics.plateau_percent is None:
        text = "The share of filled pixels still grows: no plateau can be stated, small vessels are missing."
        missing.append(Limitation("sr_not_saturated", text, "note", ("saturation",)))
    return tuple(missing)


def precision_um(found: Localizations) -> Estimate:
    """Median standard error of the positions in one axis; the interval from order statistics (binomial)."""
    ordered = np.sort(found.sigma_mm.astype(np.float64)) * 1000
    n = len(ordered)
    half = 0.98 * np.sqrt(n)
    low, high = max(int(n / 2 - half), 0), min(int(np.ceil(n / 2 + half)), n - 1)
    return Estimate(float(np.median(ordered)), float(ordered[low]), float(ordered[high]))
