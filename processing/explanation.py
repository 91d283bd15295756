"""What was decided for a cine and why, in sentences: the first thing IT and a physicist read at a new site."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from processing.cine import CineDescription, DisplayProfile, LevelMap
from processing.intake import Examination
from processing.limitations import Limitation


@dataclass(frozen=True, eq=False)
class Explanation:
    """The decisions of one cine. frame: uint8 (row, column[, 3]), one from the middle, for the picture.

    `examination` is None where the cine could not be examined; a limitation then says why.
    """

    description: CineDescription
    profile: DisplayProfile
    examination: Examination | None
    limitations: tuple[Limitation, ...]
    frame: NDArray[np.uint8]

    def lines(self) -> tuple[tuple[str, str], ...]:
        """(what was asked, what was decided and from what), in the order in which it is decided."""
        decided = () if self.examination is None else _decisions(self.examination)
        return (
            *_header(self.description),
            ("profile", _profile(self.profile)),
            *decided,
            *((f"{limit.severity}", f"{limit.code}: {limit.text}") for limit in self.limitations),
        )


def explain(
    description: CineDescription,
    profile: DisplayProfile,
    examination: Examination | None,
    limitations: Sequence[Limitation],
    frame: NDArray[np.uint8],
) -> Explanation:
    """Put together what the reader, the profile and the examination decided."""
    own = () if examination is None else examination.limitations
    return Explanation(description, profile, examination, tuple(dict.fromkeys((*limitations, *own))), frame)


def _header(d: CineDescription) -> tuple[tuple[str, str], ...]:
    times = d.frame_times_s
    if times.size > 1:
        steps_ms = 1000 * np.diff(times)
        timed = f"{times[-1] - times[0]:.2f} s from the {d.frame_times_source}, steps {steps_ms.min():.1f} to "
        timed += f"{steps_ms.max():.1f} ms; time zero: {d.time_zero.kind}, first frame at {times[0]:+.2f} s"
    else:
        timed = "no time base"
    regions = [
        f"{tuple(region.box)} " + ("uncalibrated" if region.spacing_mm is None else
        f"{region.spacing_mm.z_mm:.4f} x {region.spacing_mm.x_mm:.4f} mm")
        + (", with a grey-to-dB table" if region.grey_to_db else "")
        for region in d.regions
    ]  # fmt: skip
    drawn = f"{d.frames} frames of {d.columns} x {d.rows}, {'colour' if d.colour else 'grey'}"
    return (
        ("cine", drawn + (", lossy" if d.lossy else ", lossless")),
        ("time", timed),
        ("space", "; ".join(regions) or "no calibrated 2D tissue region"),
    )


def _profile(profile: DisplayProfile) -> str:
    declared = f"{profile.compression}, "
    declared += "no dynamic range" if profile.dynamic_range_db is None else f"{profile.dynamic_range_db:g} dB"
    declared += "" if profile.colour_map is None else ", colour map declared"
    checked = "NOT commissioned: amplitudes unreliable"
    if profile.commissioned_by and profile.commissioned_on:
        checked = f"commissioned by {profile.commissioned_by} on {profile.commissioned_on}"
    return f"{profile.name} ({declared}, panel {profile.contrast_panel}); {checked}"


def _decisions(e: Examination) -> tuple[tuple[str, str], ...]:
    panels = e.panels
    twin = "no B-mode twin" if panels.bmode is None else f"B-mode twin {tuple(panels.bmode)}"
    spacing = "uncalibrated"
    if e.spacing_mm is not None:
        spacing = f"{e.spacing_mm.z_mm:.4f} x {e.spacing_mm.x_mm:.4f} mm a pixel"
    tint = f"{e.tint.name} ({'spacing known' if e.tint.known else 'order of levels only'}), residual "
    return (
        (
            "contrast panel",
            f"{tuple(panels.contrast)}, {panels.side}, confidence {panels.confidence:.2f} ({panels.method}); "
            f"{twin}; {spacing}",
        ),
        ("masked", f"{100 * float(e.furniture.mean()):.1f} % of the panel shows no echo (burned in or not scanned)"),
        (
            "tint",
            f"{tint}{e.tint.residual_levels:.1f} levels; {100 * e.tint.overlay_fraction:.2f} % belong to no single map",
        ),
        ("grey to dB", _levels(e.level_map)),
        *(() if e.coding_noise_levels == 0 else (("coding", _coding(e.coding_noise_levels)),)),
        ("contrast", f"{'found' if e.evidence.found else 'NOT found'}: {e.evidence.reason}"),
    )


def _coding(noise_levels: float) -> str:
    return (
        f"lossy: a second pass through the same coder moves luma by {noise_levels:.1f} levels rms; "
        "the lift of mean power by that is taken out"
    )


def _levels(levels: LevelMap) -> str:
    span = "" if levels.dynamic_range_db is None else f" over {levels.dynamic_range_db:g} dB"
    return f"{levels.compression}{span}, from the {levels.source}; level 0 = {levels.level_db[0]:.1f} dB, 255 = 0 dB"
