"""Response of a pre-treatment tumour: a network on its maps and a glass box on named parameters, side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, map_coordinates

from onnx_models.errors import ModelRefusedError
from onnx_models.identity import ModelIdentity, Refusal
from onnx_models.loaded import ClipFacts, LoadedModel, check_applicable, check_known_input, refused_by
from onnx_models.registry import Models
from onnx_models.segment import INVALID_CELL
from onnx_models.tensors import map_statistics, softmax

FloatArray = NDArray[np.float32]

Treatment = Literal["before", "after", "unknown"]
CROP = 48
"""Side of the classifier's input (models.md section 1)."""
METRICS = (
    "peak_difference_db",
    "mean_difference_db",
    "arrival_difference_s",
    "half_peak_difference_s",
    "peak_spread_db",
    "unfilled_fraction",
)
MARGIN = 1.5
"""The crop is 1.5 times the lesion's larger side, so some surroundings are seen."""


@dataclass(frozen=True, eq=False)
class ResponseInputs:
    """maps: float32 (5, H, W) and valid: bool (H, W) of `processing.model_inputs`; lesion: bool (H, W) on its grid."""

    maps: FloatArray
    valid: NDArray[np.bool_]
    lesion: NDArray[np.bool_]
    facts: ClipFacts


@dataclass(frozen=True)
class Classification:
    """Probabilities of the three classes; `label` None = abstained, which is an answer of its own."""

    identity: ModelIdentity
    probabilities: Mapping[str, float]
    label: str | None
    ood_score: float
    threshold: float
    temperature: float

    @property
    def abstained(self) -> bool:
        return self.label is None


@dataclass(frozen=True)
class ResponseResult:
    """Both answers. `disagreement`: total variation distance of the probabilities, 0 to 1; None where one lacks."""

    network: Classification | Refusal
    glass_box: Classification | Refusal

    @property
    def disagreement(self) -> float | None:
        if isinstance(self.network, Refusal) or isinstance(self.glass_box, Refusal):
            return None
        a, b = self.network.probabilities, self.glass_box.probabilities
        return 0.5 * sum(abs(a[name] - b[name]) for name in a)


def classify_response(models: Models, inputs: ResponseInputs, treatment: Treatment) -> ResponseResult:
    """Ask both models; a study after treatment, or of unknown treatment state, is `not_applicable` to either."""
    network, glass_box = models.active["response_cls"], models.active["response_lr"]
    if treatment != "before":
        known = "after treatment" if treatment == "after" else "of unknown treatment state"
        error = ModelRefusedError("not_applicable", f"made for tumours before treatment, this study is {known}")
        return ResponseResult(refused_by(network, error), refused_by(glass_box, error))
    return ResponseResult(network_answer(network, inputs), glass_box_answer(glass_box, inputs))


def network_answer(model: LoadedModel, inputs: ResponseInputs) -> Classification | Refusal:
    try:
        manifest, _ = model.ready()
        check_applicable(manifest, inputs.facts)
        crop = lesion_crop(inputs.maps, inputs.lesion)
        score = check_known_input(manifest, map_statistics(crop[:5], np.ones(crop.shape[1:], dtype=np.bool_)))
        return _answer(model, crop[None], score)
    except ModelRefusedError as error:
        return refused_by(model, error)


def glass_box_answer(model: LoadedModel, inputs: ResponseInputs) -> Classification | Refusal:
    try:
        manifest, _ = model.ready()
        check_applicable(manifest, inputs.facts)
        names = [channel.name for channel in manifest.inputs[0].channels]
        metrics = lesion_metrics(inputs.maps, inputs.valid, inputs.lesion)
        missing = [n for n in names if not math.isfinite(metrics.get(n, math.nan))]
        if missing:
            raise ModelRefusedError("not_applicable", f"needs parameters that were not measured: {', '.join(missing)}")
        vector = np.array([[metrics[name] for name in names]], dtype=np.float32)
        score = check_known_input(manifest, vector[0].astype(np.float64))
        return _answer(model, vector, score)
    except ModelRefusedError as error:
        return refused_by(model, error)


def lesion_metrics(maps: FloatArray, valid: NDArray[np.bool_], lesion: NDArray[np.bool_]) -> dict[str, float]:
    """The glass box's named parameters: lesion against everything else in the panel, preprocessing "named metrics 1".

    Differences of medians in dB and s, the spread of the peak level inside (dB, interquartile), and the part of the
    lesion where contrast never arrived. NaN where there is no cell to measure.
    """
    arrived = valid & (maps[3] < 2.0)
    inside, outside = lesion & arrived, valid & arrived & ~binary_dilation(lesion, iterations=4)
    if inside.sum() < 9 or outside.sum() < 9:
        return dict.fromkeys(METRICS, math.nan)
    between = [float(np.median(maps[c][inside]) - np.median(maps[c][outside])) for c in (0, 1, 3, 4)]
    low, high = np.percentile(maps[0][inside], (25, 75))
    unfilled = 1.0 - float(inside.sum()) / float((lesion & valid).sum())
    values = (between[0], between[1], 30.0 * between[2], 30.0 * between[3], float(high - low), unfilled)
    return dict(zip(METRICS, values, strict=True))


def lesion_crop(maps: FloatArray, lesion: NDArray[np.bool_]) -> FloatArray:
    """(6, 48, 48): the five maps around the lesion and its mask, linearly resampled; outside the panel is invalid."""
    if not lesion.any():
        raise ModelRefusedError("not_applicable", "there is no lesion contour to classify")
    z, x = np.nonzero(lesion)
    side = MARGIN * max(np.ptp(z) + 1, np.ptp(x) + 1)
    centre = (z.min() + z.max()) / 2, (x.min() + x.max()) / 2
    steps = ((np.arange(CROP) + 0.5) / CROP - 0.5) * side
    grid = np.meshgrid(centre[0] + steps, centre[1] + steps, indexing="ij")
    crop = np.empty((6, CROP, CROP), dtype=np.float32)
    for channel in range(5):
        fill = float(INVALID_CELL[channel])
        crop[channel] = map_coordinates(maps[channel], grid, order=1, mode="constant", cval=fill)
    crop[5] = map_coordinates(lesion.astype(np.float32), grid, order=1, mode="constant", cval=0.0)
    return crop


def _answer(model: LoadedModel, tensor: FloatArray, score: float) -> Classification:
    manifest, _ = model.ready()
    outputs = manifest.outputs
    names = [c.name for c in outputs.classes]
    probabilities = softmax(model.answer(tensor, (1, len(names)))[0], outputs.temperature)
    best = int(probabilities.argmax())
    label = names[best] if probabilities[best] >= outputs.abstain_below else None
    return Classification(
        model.identity,
        dict(zip(names, (float(p) for p in probabilities), strict=True)),
        label,
        score,
        outputs.threshold,
        outputs.temperature,
    )
