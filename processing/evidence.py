"""Is this CEUS? Decided from the data: new scatterers enhance the panel, and nothing simpler explains the rise.

A gain step lifts the same speckle, so the pattern before and after agrees; where speckle is always new (noise, a sweep)
gain lifts everything alike, which no agent does; a probe that comes into contact lifts the
panel at once, and its twin with it; motion lifts as many places as it lowers; a flash lasts a moment; colour overlays
are not drawn with one map. What is left after those is enhancement.

Where the loop began after the arrival, or contrast is infused steadily, every sample is compared with every other:
flowing bubbles never draw the same pattern twice, while slow-flow imaging does at every beat. This counts only where
the header announces contrast. The agent's name is never enough by itself, and is often absent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Power = NDArray[np.float64]
Levels = NDArray[np.uint8]


@dataclass(frozen=True)
class EvidenceCriteria:
    """What contrast must show. Figures: simulated contrast loops against B-mode, Doppler, elastography and microflow
    clips (tests/accuracy/test_contrast_evidence.py); a bolus lifts the panel by 10 to 25 dB in practice (dom).
    """

    rise_db: float = 5.0
    """Breathing and probe motion swing the smoothed mean of simulated B-mode loops by up to 4 dB."""
    smoothing_s: float = 4.0
    """Longer than a heart beat, a flash and half a breath; shorter than any wash-in through a panel."""
    shortest_s: float = 5.0
    """Within less, a wash-in cannot be told from a heart beat or a hand."""
    block_rise_db: float = 4.0
    risen_fraction: float = 0.25
    """Share of the panel's blocks that rise, net of those that fall: motion lifts as many as it lowers."""
    lesion_rise_db: float = 10.0
    lesion_fraction: float = 0.08
    fallen_share: float = 0.1
    """A lesion may enhance before everything else: where the mean rises by twice the least, a smaller part is enough if
    next to nothing falls."""
    baseline_s: float = 2.0
    baseline_rise_db: float = 12.0
    """A loop that rises from its first moments on began in the wash-in, unless its start lies so far below its peak
    that what it hides is less than 6 %."""
    same_pattern: float = 0.5
    """Highest correlation of speckle: 0.6 to 1 for gain, 0.85 to 1 between two beats of slow-flow imaging, below 0.3
    for new scatterers."""
    unevenness: float = 1.3
    """Scatter of the blocks around one common course, over that of their speckle: 0.93 to 1.10 for noise or swept
    tissue that somebody turns up by 8 to 16 dB, 1.57 and more for 120 contrast examinations of both simulators, lesion
    or none: vessels, depths and arrivals never enhance alike."""
    overlay_fraction: float = 0.004
    """A Doppler box that shows any flow colours more than this share of the panel's pixels."""
    longest_dip_s: float = 4.0
    """A capillary bed is half refilled within 0.5 to 4 s of a flash."""
    recurring_pattern: float = 0.6
    """Highest correlation between two bright samples seconds apart: below 0.3 where bubbles flow."""
    still_pattern: float = 0.5
    """Correlation of a B-mode twin with itself one sample later: above this it shows tissue."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """What is judged: sampled levels (frame, z, x) of the candidate panel and of its twin (None: no twin).

    `power_of_level`: 256 linear powers. `announced`: the header records an agent, an injection or a contrast timer.
    """

    levels: Levels
    twin: Levels | None
    times_s: NDArray[np.float64]
    power_of_level: Power
    valid: NDArray[np.bool_]
    overlay_fraction: float
    announced: bool


@dataclass(frozen=True)
class ContrastEvidence:
    """Whether contrast was found, why in one measured sentence, and the figures behind it.

    `before_contrast` False: contrast was there from the first frame on, so nothing can be said of its arrival.
    """

    found: bool
    reason: str
    rise_db: float
    risen_fraction: float
    pattern_correlation: float
    overlay_fraction: float
    before_contrast: bool


def contrast_evidence(candidate: Candidate, criteria: EvidenceCriteria | None = None) -> ContrastEvidence:
    """Judge a candidate panel."""
    wanted = criteria or EvidenceCriteria()
    measured = _measure(candidate, wanted)
    refusal = _objection(measured, wanted)
    enhanced = refusal is None
    reason = refusal or (
        f"{measured.said}, over {100 * measured.risen:.0f} % of its area, with new speckle "
        f"(correlation {measured.correlation:.2f})"
    )
    if not enhanced and measured.overlay <= wanted.overlay_fraction and measured.duration_s >= wanted.shortest_s:
        may_flow = candidate.announced and measured.unevenness >= wanted.unevenness
        other = _replenishment(candidate, wanted) or (_flow(candidate, wanted) if may_flow else None)
        reason = other or reason
        enhanced = other is not None
    return ContrastEvidence(
        found=enhanced,
        reason=reason,
        rise_db=measured.rise_db,
        risen_fraction=measured.risen,
        pattern_correlation=measured.correlation,
        overlay_fraction=measured.overlay,
        before_contrast=refusal is None and measured.begins_before,
    )


@dataclass(frozen=True)
class _Measured:
    said: str
    duration_s: float
    rise_db: float
    twin_rise_db: float
    risen: float
    fallen: float
    begins_before: bool
    correlation: float
    recurring: float
    overlay: float
    sudden: bool
    unevenness: float


def _measure(candidate: Candidate, criteria: EvidenceCriteria) -> _Measured:
    times_s = candidate.times_s
    blocks = _block_power(candidate.levels, candidate.power_of_level, candidate.valid)
    window = _window(times_s, criteria.smoothing_s)
    panel = blocks.mean(axis=1)
    smooth = _smooth(panel[:, None], window)[:, 0]
    panel_db = _decibel(smooth)
    low, high = _rise(panel_db)
    rise_db = float(panel_db[high] - panel_db[low])
    blocks_db = _decibel(_smooth(blocks, window))
    change_db = blocks_db[high] - blocks_db[low]
    fallen = float((change_db <= -criteria.block_rise_db).mean())
    twin_rise_db = 0.0
    if candidate.twin is not None:
        twin = np.array([float(candidate.power_of_level[frame].mean()) for frame in candidate.twin])
        twin_db = _decibel(_smooth(twin[:, None], window)[:, 0])
        twin_rise_db = float(twin_db[high] - twin_db[low])
    rises = rise_db >= criteria.rise_db
    return _Measured(
        said=f"the mean level of the candidate panel rose by {rise_db:.1f} dB within {np.ptp(times_s):.1f} s",
        duration_s=float(np.ptp(times_s)),
        rise_db=rise_db,
        twin_rise_db=twin_rise_db,
        risen=float((change_db >= criteria.block_rise_db).mean()) - fallen,
        fallen=fallen,
        begins_before=rise_db >= criteria.baseline_rise_db or _level_s(smooth, times_s) >= criteria.baseline_s,
        correlation=_pattern_correlation(candidate.levels, candidate.valid, low, high) if rises else 0.0,
        recurring=_recurrence(candidate.levels[panel >= 0.5 * panel.max()], candidate.valid, 8) if rises else 0.0,
        overlay=candidate.overlay_fraction,
        sudden=rises and _sudden(panel, low, high),
        unevenness=_unevenness(_decibel(blocks), blocks_db[low : high + 1], window) if rises else np.inf,
    )


def _objection(m: _Measured, wanted: EvidenceCriteria) -> str | None:
    """What speaks against enhancement, in words with figures; None where nothing does."""
    objections = (
        (
            m.overlay > wanted.overlay_fraction,
            f"; {100 * m.overlay:.1f} % of its pixels are a colour overlay (Doppler, elastography)",
        ),
        (m.duration_s < wanted.shortest_s, ", too short a time to tell contrast from motion"),
        (m.rise_db < wanted.rise_db, f"; enhancement needs {wanted.rise_db:.0f} dB, motion explains less"),
        (
            m.rise_db - m.twin_rise_db < wanted.rise_db,
            f", but its B-mode twin rose by {m.twin_rise_db:.1f} dB with it: gain or contact explains it",
        ),
        (
            m.correlation > wanted.same_pattern,
            f", but its pattern stayed the same (correlation {m.correlation:.2f}): gain or pulsation explains it",
        ),
        (
            m.recurring > wanted.recurring_pattern,
            f", but the same pattern comes back (correlation {m.recurring:.2f}): pulsation or tissue explains it",
        ),
        (
            m.unevenness < wanted.unevenness,
            f", but everywhere alike (scatter {m.unevenness:.1f} times that of speckle): gain explains it",
        ),
        (m.sudden, ", but from one moment to the next: a change of view or contact explains it"),
        (
            m.risen < (wanted.lesion_fraction if _lesion_alone(m, wanted) else wanted.risen_fraction),
            f", but only {100 * max(m.risen, 0.0):.0f} % more of it rose than fell: motion explains it",
        ),
    )
    return next((m.said + text for speaks, text in objections if speaks), None)


def _lesion_alone(m: _Measured, wanted: EvidenceCriteria) -> bool:
    return m.rise_db >= wanted.lesion_rise_db and m.fallen <= wanted.fallen_share * (m.risen + m.fallen)


def _level_s(smooth: Power, times_s: NDArray[np.float64]) -> float:
    """How long the (smoothed, linear) curve stays within a tenth of its rise from where it begins."""
    share = (smooth - smooth[0]) / max(float(smooth.max() - smooth[0]), 1e-30)
    return float(times_s[int((share >= 0.1).argmax())] - times_s[0])


def _replenishment(candidate: Candidate, wanted: EvidenceCriteria) -> str | None:
    """A flash destroys what is there and it flows back: one dip of the panel alone, with new speckle after it."""
    panel_db, times_s = _panel_db(candidate.levels, candidate), candidate.times_s
    lowest = int(panel_db.argmin())
    early, late = np.arange(lowest)[: max(lowest - 1, 0)], np.arange(len(panel_db))[-(len(panel_db) // 3) :]
    if early.size < 2 or lowest >= late[0]:
        return None
    before_db, after_db = float(np.median(panel_db[early])), float(np.median(panel_db[late]))
    depth_db = min(before_db, after_db) - float(panel_db[lowest])
    low = np.flatnonzero(panel_db <= panel_db[lowest] + depth_db / 2)
    single = times_s[low[-1]] - times_s[low[0]] <= wanted.longest_dip_s
    if candidate.twin is not None:
        twin_db = _panel_db(candidate.twin, candidate)
        depth_db -= max(float(np.median(twin_db) - twin_db[lowest]), 0.0)
    if depth_db < wanted.rise_db or not single:
        return None
    correlation = _pattern_correlation(candidate.levels, candidate.valid, int(early[len(early) // 2]), int(late[-2]))
    bright = candidate.levels[panel_db >= after_db - 3.0]
    if correlation > wanted.same_pattern or _recurrence(bright, candidate.valid, 8) > wanted.recurring_pattern:
        return None
    return (
        f"the mean level of the panel fell by {depth_db:.1f} dB at {times_s[lowest]:.1f} s and came back with new "
        f"speckle (correlation {correlation:.2f}): destruction and replenishment"
    )


def _panel_db(levels: Levels, candidate: Candidate) -> Power:
    same = levels.shape[1:] == candidate.valid.shape
    mask = candidate.valid if same and candidate.valid.any() else np.ones(levels.shape[1:], np.bool_)
    return _decibel(np.array([float(candidate.power_of_level[frame[mask]].mean()) for frame in levels]))


def _flow(candidate: Candidate, wanted: EvidenceCriteria) -> str | None:
    """Announced contrast that is there throughout: the panel's pattern is always new, its twin's is not."""
    recurring = _recurrence(candidate.levels, candidate.valid)
    if recurring > wanted.same_pattern:
        return None
    beside = ""
    if candidate.twin is not None:
        still = successive_correlation(candidate.twin, 12)
        if still < wanted.still_pattern:
            return None
        beside = f", while its B-mode twin keeps it ({still:.2f})"
    return (
        "contrast is announced in the header and flows from the first frame on: no pattern of the panel comes back "
        f"(highest correlation {recurring:.2f}){beside}"
    )


def _block_power(levels: Levels, power_of_level: Power, valid: NDArray[np.bool_]) -> Power:
    """Mean linear power of each block of about 1/16 of the panel's side: (frame, block)."""
    rows, columns = valid.shape
    step = max(min(rows, columns) // 16, 4)
    z, x = np.arange(rows) // step, np.arange(columns) // step
    label = (z[:, None] * (x[-1] + 1) + x[None, :])[valid]
    count = np.bincount(label)
    full = count >= step * step // 2
    if not full.any():
        full = count > 0
    out = np.zeros((len(levels), max(int(full.sum()), 1)))
    for frame, place in zip(levels, out, strict=True):
        sums = np.bincount(label, weights=power_of_level[frame[valid]], minlength=count.size)
        place[: int(full.sum())] = sums[full] / count[full]
    return out


def _window(times_s: NDArray[np.float64], smoothing_s: float) -> int:
    step_s = float(np.median(np.diff(times_s))) if times_s.size > 1 else smoothing_s
    # An odd number of samples, at least three against a single flash frame, at most a third of the loop.
    width = max(3, 2 * round(smoothing_s / max(step_s, 1e-9) / 2) + 1)
    return int(min(width, max(times_s.size // 3, 1) | 1))


def _smooth(curves: Power, window: int) -> Power:
    return np.asarray(ndimage.median_filter(curves, size=(window, 1), mode="nearest"), np.float64)


def _decibel(power: Power) -> Power:
    return np.asarray(10.0 * np.log10(np.maximum(power, 1e-12)), np.float64)


def _rise(curve_db: Power) -> tuple[int, int]:
    """The earlier low and the later high sample between which the curve rises most."""
    lowest = np.minimum.accumulate(curve_db)
    high = int((curve_db - lowest).argmax())
    return int(curve_db[: high + 1].argmin()), high


def _sudden(panel: Power, low: int, high: int) -> bool:
    """No sample lies on the way: the linear mean goes from below 15 % to above 85 % of its plateau between two samples.

    Samples are about a second apart; no organ fills within one.
    """
    rising = panel[low : high + 1]
    plateau = float(np.median(panel[max(high - 1, 0) : high + 2]))
    share = (rising - rising[0]) / max(plateau - rising[0], 1e-30)
    first_high = int((share >= 0.85).argmax())
    return first_high > 0 and bool(share[first_high - 1] <= 0.15)


def _unevenness(blocks_db: Power, rising_db: Power, window: int) -> float:
    """Scatter of smoothed blocks (sample, block) around one course that all share, each from a level of its own, over
    the scatter that their speckle makes; inf where too few samples rise to tell.

    That of speckle is known from how much more than all of them a block changes from one sample to the next; a median
    of n keeps sqrt(pi / 2n) of it (Kenney and Keeping 1962).
    """
    if len(rising_db) <= window:
        return float(np.inf)
    change = np.diff(blocks_db, axis=0)
    single_db = 1.4826 * float(np.median(np.abs(change - np.median(change, axis=1, keepdims=True)))) / np.sqrt(2.0)
    apart = rising_db - rising_db.mean(axis=0) - (rising_db.mean(axis=1) - rising_db.mean())[:, None]
    return float(apart.std() / max(single_db * np.sqrt(np.pi / (2.0 * window)), 1e-6))


def _pattern_correlation(levels: Levels, valid: NDArray[np.bool_], low: int, high: int) -> float:
    """Highest correlation of the fine pattern between frames around the low and the high sample, over all shifts."""
    before = [_pattern(levels[i], valid) for i in range(max(low - 1, 0), min(low + 2, len(levels)))]
    after = [_pattern(levels[i], valid) for i in range(max(high - 1, 0), min(high + 2, len(levels)))]
    return max(_best_correlation(a, b) for a in before for b in after)


def successive_correlation(levels: Levels, pairs: int, valid: NDArray[np.bool_] | None = None) -> float:
    """Median of the best correlation of a sample with the next one, over `pairs` places of the loop; 1 = the same."""
    mask = np.ones(levels.shape[1:], np.bool_) if valid is None else valid
    places = range(0, len(levels) - 1, max(len(levels) // pairs, 1))
    found = [_best_correlation(_pattern(levels[i], mask), _pattern(levels[i + 1], mask)) for i in places]
    return float(np.median(found)) if found else 1.0


def _recurrence(levels: Levels, valid: NDArray[np.bool_], samples: int = 14) -> float:
    """Highest correlation between any two of a few samples spread over the loop."""
    if len(levels) < 2:
        return 0.0
    chosen = np.linspace(0, len(levels) - 1, min(samples, len(levels))).astype(int)
    patterns = [_pattern(levels[i], valid) for i in chosen]
    pairs = [_best_correlation(a, b) for i, a in enumerate(patterns) for b in patterns[:i]]
    return max(pairs)


def _pattern(level: Levels, valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The level image without its slow part, zero outside of the scanned area, unit energy."""
    image = level.astype(np.float32)
    weight = ndimage.uniform_filter(valid.astype(np.float32), 15)
    local = ndimage.uniform_filter(np.where(valid, image, 0), 15) / np.maximum(weight, 1e-3)
    fine = np.where(valid, image - local, 0).astype(np.float32)
    energy = float(np.sqrt((fine.astype(np.float64) ** 2).sum()))
    return fine / np.float32(energy) if energy > 0 else fine


def _best_correlation(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    spectrum = np.fft.rfft2(a) * np.conj(np.fft.rfft2(b))
    return float(np.fft.irfft2(spectrum, s=a.shape).max())
