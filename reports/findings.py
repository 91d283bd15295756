"""Findings: everything one acquisition says, as frozen types; `findings_json` writes and reads them.

Field names are the names of findings.json (schema `ceus-node/findings/1`) wherever the field has them. A value that
does not exist is None and a limitation says why; nothing here is ever NaN. Units are UCUM.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from processing.cine import Compression, DynamicRangeSource, Panels, Spacing, TimeZeroKind
from processing.limitations import Limitation
from processing.metrics import Estimate, MapSampling, PerfusionMetrics
from processing.roi import DrawnBy, RoiLabel
from reports.errors import InvalidFindingsError
from reports.model_use import ModelUse, ShadowUse

SCHEMA: Literal["ceus-node/findings/1"] = "ceus-node/findings/1"
NOT_IMPLEMENTED = "not part of this analysis"


@dataclass(frozen=True)
class Quantity:
    """A figure with its unit (UCUM) and 95 % interval. value None: it does not exist, and a limitation says why."""

    value: float | None
    unit: str
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        for number in (self.value, self.low, self.high):
            if number is not None and not math.isfinite(number):
                raise InvalidFindingsError(f"a figure in {self.unit} is {number}: say None and name the limitation")
        if (self.low is None) != (self.high is None):
            raise InvalidFindingsError(f"a figure in {self.unit} has half an interval")

    @staticmethod
    def of(estimate: Estimate | None, unit: str) -> Quantity:
        """A measured estimate with its unit; None stays a quantity without value."""
        return Quantity(None, unit) if estimate is None else Quantity(estimate.value, unit, estimate.low, estimate.high)


@dataclass(frozen=True)
class Software:
    """What computed the findings. Digests are hex SHA-256 of the result-relevant settings and of the site profile.

    `protocol`: name of the preset, "" in files written before it was kept.
    """

    name: str
    version: str
    configuration_digest: str
    profile: str
    profile_digest: str
    protocol: str = ""


@dataclass(frozen=True)
class Source:
    """The cine that was measured. `patient_key` is a hash, never an identifier.

    `contrast_panel` None: no panel was found. `commissioned` is an ISO date. `agent`, `dose` (with its unit),
    `mechanical_index` and what follows None or "": not recorded. `acquired_at`: first frame, on the scanner's clock,
    which is `utc_offset_min` ahead of UTC.
    """

    patient_key: str
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uids: tuple[str, ...]
    frames: int
    duration_s: float | None
    frame_rate_hz: float | None
    contrast_panel: Panels | None
    pixel_spacing_mm: Spacing | None
    compression: Compression
    dynamic_range_db: float | None
    dynamic_range_source: DynamicRangeSource
    commissioned: str | None = None
    time_zero: TimeZeroKind = "first frame"
    agent: str | None = None
    dose: str | None = None
    mechanical_index: float | None = None
    acquired_at: datetime | None = None
    scanner: str = ""
    body_part: str = ""
    laterality: str = ""
    view: str = ""
    gain_db: float | None = None
    frequency_mhz: float | None = None
    depth_mm: float | None = None
    utc_offset_min: int | None = None


@dataclass(frozen=True)
class Quality:
    """How far the cine can be trusted. `contrast_reason` is the measured reason why contrast was (not) found.

    saturated_fraction: 0 to 1. rejected_frames: numbers from 0 in the acquisition.
    """

    contrast_found: bool
    contrast_reason: str | None = None
    saturated_fraction: float | None = None
    motion_mm_p95: float | None = None
    rejected_frames: tuple[int, ...] = ()
    limitations: tuple[Limitation, ...] = ()


@dataclass(frozen=True)
class RoiFinding:
    """A measured ROI. contour_px: closed polygon ((x, y), ...) in the full frame, first point not repeated; the centre
    of the top-left pixel is (0, 0), so the mask's outline of that pixel runs through -0.5 and 0.5.

    `tracking_uid` is the lesion's in every object and every study. `number` counts from 1 among ROIs of that label.
    """

    label: RoiLabel
    number: int
    drawn_by: DrawnBy
    confirmed: bool
    area_mm2: float | None
    tracking_uid: str
    contour_px: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Heterogeneity:
    """First-order spread of a parameter over the ROI (IBSI CWYJ, TLU2, SLWD), each without unit."""

    cov: float | None = None
    entropy: float | None = None
    quartile_coefficient: float | None = None


@dataclass(frozen=True)
class RoiPerfusion:
    """Bolus parameters of one ROI and their spread over it."""

    metrics: PerfusionMetrics
    heterogeneity: Heterogeneity | None = None


@dataclass(frozen=True)
class Washout:
    """Lesion against reference after the peak. level_db: "30", "60", "120" s -> dB, None where not reached."""

    onset_s: float | None = None
    level_db: Mapping[str, float | None] = field(default_factory=lambda: {"30": None, "60": None, "120": None})


@dataclass(frozen=True)
class VascularPattern:
    """Dynamic vascular pattern (Rognin 2010, TUFFC 57:2503): the prevailing class and the share of each, 0 to 1."""

    dominant: str | None = field(metadata={"json": "class"})
    fractions: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Enhancement:
    """How much of the lesion takes up contrast, in this plane; hours_since_treatment None where nobody told."""

    perfused_area_percent: float | None = None
    non_enhancing_area_mm2: float | None = None
    non_enhancing_percent: float | None = None
    not_assessable_percent: float | None = None
    hours_since_treatment: float | None = None


@dataclass(frozen=True)
class Perfusion:
    """Perfusion by ROI label, and what follows from lesion and reference together.

    ratio: `parameters.RATIO_SYMBOLS` -> lesion/reference; difference_s: `parameters.DIFFERENCE_SYMBOLS` -> lesion
    minus reference in s. All of them empty where there is no reference.
    """

    by_label: Mapping[RoiLabel, RoiPerfusion] = field(default_factory=dict)
    ratio: Mapping[str, Quantity] = field(default_factory=dict)
    difference_s: Mapping[str, Quantity] = field(default_factory=dict)
    washout: Washout | None = None
    dvp: VascularPattern | None = None
    enhancement: Enhancement | None = None
    map_sampling: MapSampling | None = None


@dataclass(frozen=True)
class Replenishment:
    """Destruction-replenishment of one ROI: rBV in [arb'U], beta in 1/s, mTT in s, rBF in [arb'U]/s."""

    relative_blood_volume: Quantity = field(metadata={"json": "rBV"})
    beta: Quantity
    mean_transit_time: Quantity = field(metadata={"json": "mTT"})
    relative_blood_flow: Quantity = field(metadata={"json": "rBF"})
    model: str
    r2: float | None = None


@dataclass(frozen=True)
class DensityByMask:
    """Share of the ROI covered by vessels, of all tracks and rarefied to a fixed number of positions in them."""

    area_percent: Quantity
    area_percent_rarefied: Quantity
    rarefied_to: int | None = None


@dataclass(frozen=True)
class PerfusionDensity:
    """Density of perfused vessels in the ROI, by threshold, by the vessel model, by crossings and by flux."""

    by_threshold: DensityByMask | None = None
    by_model: DensityByMask | None = None
    tracks_per_mm2_s: Quantity | None = None
    flux_mm_per_mm2_s: Quantity | None = None


@dataclass(frozen=True)
class Saturation:
    """Share of super-resolved pixels filled by the end, and the plateau of that growth."""

    filled_percent: Quantity
    plateau_percent: Quantity


@dataclass(frozen=True)
class SpeedSummary:
    """Speed over all track steps, mm/s."""

    mean: Quantity
    median: Quantity
    p95: Quantity


@dataclass(frozen=True)
class FlowHeterogeneity:
    """Spread of speed and direction over the ROI, each without unit."""

    speed_cv: Quantity
    speed_quartile_coefficient: Quantity
    speed_entropy: Quantity
    direction_entropy: Quantity
    direction_dispersion: Quantity


@dataclass(frozen=True)
class Vessels:
    """The vessel skeleton in the ROI."""

    count: Quantity
    tortuosity_median: Quantity
    diameter_um_median: Quantity
    branch_points: Quantity
    fractal_dimension: Quantity
    centre_rim_ratio: Quantity


@dataclass(frozen=True)
class SuperResolution:
    """Ultrasound localization microscopy of the acquisition. performed False: `reason` says why, all else is None."""

    performed: bool = False
    reason: str | None = NOT_IMPLEMENTED
    localizations: int | None = None
    tracks: int | None = None
    interval_s: float | None = None
    trackable_speed_mm_s: float | None = None
    psf_fwhm_mm: tuple[float, float] | None = None
    localization_precision_um: Quantity | None = None
    frc_resolution_um: Quantity | None = None
    perfusion_density: PerfusionDensity | None = None
    saturation: Saturation | None = None
    speed_mm_s: SpeedSummary | None = None
    flow_heterogeneity: FlowHeterogeneity | None = None
    vessels: Vessels | None = None


@dataclass(frozen=True)
class Response:
    """A model's predicted response, never the actual one. `disagreement`: total variation distance, 0 to 1."""

    performed: bool = False
    reason: str | None = NOT_IMPLEMENTED
    state: str | None = None
    probabilities: Mapping[str, float] | None = None
    abstained: bool | None = None
    disagreement: float | None = None
    label_text: str | None = None
    glass_box: Mapping[str, float] | None = None
    evidence: str | None = None


@dataclass(frozen=True)
class Baseline:
    """The earlier study that was compared with, and the rule that chose it."""

    study_instance_uid: str
    sr_sop_instance_uid: str
    datetime: datetime
    rule: str


@dataclass(frozen=True)
class LesionMatch:
    """How sure it is that both studies measured the same lesion; `confirmed` only by a reader."""

    confidence: float | None
    confirmed: bool


@dataclass(frozen=True)
class Change:
    """One parameter before and now. percent for amplitudes and ratios, difference for times.

    `beyond_variability` None: nobody stated a repeatability. `reason`: why it is not compared, None where it is.
    """

    baseline: Quantity
    now: Quantity
    percent: float | None = None
    difference: Quantity | None = None
    beyond_variability: bool | None = None
    variability_source: str | None = None
    reason: str | None = None


@dataclass(frozen=True)
class TrendPoint:
    """One study of the patient in the trend: values by parameter name."""

    study_instance_uid: str
    datetime: datetime
    values: Mapping[str, Quantity]


@dataclass(frozen=True)
class Comparison:
    """Before and after. performed False: `reason` says why and nothing else is stated.

    settings_differ: what was not known and equal in both. post_treatment: only where somebody said so.
    """

    performed: bool = False
    reason: str | None = NOT_IMPLEMENTED
    baseline: Baseline | None = None
    hours_since: float | None = None
    match: LesionMatch | None = None
    remeasured: bool | None = None
    settings_differ: tuple[str, ...] = ()
    trend: tuple[TrendPoint, ...] = ()
    changes: Mapping[str, Change] = field(default_factory=dict)
    post_treatment: bool = False


@dataclass(frozen=True)
class Findings:
    """All findings of one acquisition. `created` is the job's acceptance time, with its time zone. `replenishment`
    holds a ROI label only where a flash was found."""

    software: Software
    created: datetime
    source: Source
    quality: Quality
    rois: tuple[RoiFinding, ...] = ()
    perfusion: Perfusion = field(default_factory=Perfusion)
    replenishment: Mapping[RoiLabel, Replenishment] = field(default_factory=dict)
    super_resolution: SuperResolution = field(default_factory=SuperResolution)
    response: Response = field(default_factory=Response)
    models: tuple[ModelUse, ...] = ()
    shadow_models: tuple[ShadowUse, ...] = ()
    comparison: Comparison = field(default_factory=Comparison)
    schema: Literal["ceus-node/findings/1"] = SCHEMA

    def __post_init__(self) -> None:
        if self.created.tzinfo is None:
            raise InvalidFindingsError("`created` needs its time zone")
        labels = {roi.label for roi in self.rois}
        if missing := set(self.perfusion.by_label) - labels:
            raise InvalidFindingsError(f"perfusion of {sorted(missing)} without such a ROI")

    def roi(self, label: RoiLabel) -> RoiFinding | None:
        """The first ROI of that label."""
        return next((roi for roi in self.rois if roi.label == label), None)
