"""Segmentation: the lesion in the contrast panel, and vessels in the super-resolved map."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes, label, map_coordinates

from onnx_models.errors import InvalidInputError, ModelRefusedError
from onnx_models.identity import ModelIdentity, Refusal
from onnx_models.loaded import ClipFacts, LoadedModel, check_applicable, check_known_input, refused_by
from onnx_models.manifest import Manifest
from onnx_models.registry import Models
from onnx_models.tensors import density_tensor, map_statistics, padded, sigmoid, vessel_statistics
from processing.cine import Spacing
from processing.frozen_arrays import frozen_array
from processing.limitations import Limitation

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]

INVALID_CELL = np.array([-60, -60, -60, 2, 0], dtype=np.float32)
"""`processing.model_inputs`: what a cell without echo looks like."""


@dataclass(frozen=True, eq=False)
class LesionInputs:
    """maps: float32 (5, H, W), valid: bool (H, W), both of `processing.model_inputs`; the panel they came from."""

    maps: FloatArray
    valid: BoolArray
    cell_mm: float
    panel_shape: tuple[int, int]
    spacing_mm: Spacing
    facts: ClipFacts

    def __post_init__(self) -> None:
        object.__setattr__(self, "maps", frozen_array("maps", self.maps, np.float32, 3))
        object.__setattr__(self, "valid", frozen_array("valid", self.valid, np.bool_, 2))
        if self.maps.shape[1:] != self.valid.shape:
            raise InvalidInputError(f"maps are {self.maps.shape[1:]}, valid is {self.valid.shape}")


@dataclass(frozen=True, eq=False)
class VesselInputs:
    """density: float32 (h, w), the number of tracks through each pixel of the super-resolved map, and its clip."""

    density: FloatArray
    pixel_mm: float
    facts: ClipFacts

    def __post_init__(self) -> None:
        object.__setattr__(self, "density", frozen_array("density", self.density, np.float32, 2))


@dataclass(frozen=True, eq=False)
class Segmentation:
    """A mask that a model drew. mask: bool (z, x) on the grid that was asked for; probability: float32 (z, x).

    confidence: mean probability inside the mask, 0 to 1. `other_components`: plausible ones that were not chosen.
    """

    identity: ModelIdentity
    mask: BoolArray
    probability: FloatArray
    confidence: float
    area_mm2: float
    other_components: int
    ood_score: float
    threshold: float
    temperature: float
    limitations: tuple[Limitation, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "mask", frozen_array("mask", self.mask, np.bool_, 2))
        object.__setattr__(self, "probability", frozen_array("probability", self.probability, np.float32, 2))


def segment_lesion(models: Models, inputs: LesionInputs) -> Segmentation | Refusal:
    """The largest plausible component, on the panel's own pixels; a refusal says why there is none."""
    return segment_lesion_with(models.active["lesion_seg"], inputs)


def segment_lesion_with(model: LoadedModel, inputs: LesionInputs) -> Segmentation | Refusal:
    """The same by a given model (a shadow, a candidate under evaluation)."""
    try:
        manifest, _ = model.ready()
        check_applicable(manifest, inputs.facts)
        score = _known(manifest, inputs)
        probability = lesion_probability(model, manifest, inputs)
        return _chosen(model, manifest, inputs, (probability, score))
    except ModelRefusedError as error:
        return refused_by(model, error)


def _known(manifest: Manifest, inputs: LesionInputs) -> float:
    finite = np.isfinite(inputs.maps).all() and inputs.maps.shape[0] == len(INVALID_CELL)
    # What is not finite or has other channels is named by the input check, not by its statistics.
    return check_known_input(manifest, map_statistics(inputs.maps, inputs.valid)) if finite else 0.0


def lesion_probability(model: LoadedModel, manifest: Manifest, inputs: LesionInputs) -> FloatArray:
    """Calibrated probability of each cell, float32 (H, W); 0 where nothing is scanned."""
    if inputs.maps.shape[0] != len(INVALID_CELL):
        raise ModelRefusedError("bad_contract", f"{inputs.maps.shape[0]} maps, the model takes {len(INVALID_CELL)}")
    tensor = padded(inputs.maps, INVALID_CELL)
    logits = model.answer(tensor, (1, 1, *tensor.shape[2:]))
    rows, columns = inputs.valid.shape
    return sigmoid(logits[0, 0, :rows, :columns], manifest.outputs.temperature) * inputs.valid


def _chosen(
    model: LoadedModel, manifest: Manifest, inputs: LesionInputs, found: tuple[FloatArray, float]
) -> Segmentation:
    probability, score = found
    outputs = manifest.outputs
    cell_mm2 = inputs.cell_mm**2
    labelled, count = label(probability > outputs.threshold)
    areas_mm2 = np.bincount(labelled.ravel(), minlength=count + 1)[1:] * cell_mm2
    plausible = [k for k in range(count) if outputs.area_mm2.contains(float(areas_mm2[k]))]
    if not plausible:
        text = "no lesion of a plausible size stands out" if count else "no lesion stands out from its surroundings"
        raise ModelRefusedError("abstained", text, score)
    largest = max(plausible, key=lambda k: float(areas_mm2[k]))
    cells: BoolArray = binary_fill_holes(labelled == largest + 1) & inputs.valid
    confidence = float(probability[cells].mean())
    if confidence < outputs.abstain_below:
        text = f"a lesion is suspected but not sure enough ({confidence:.2f}, {outputs.abstain_below:.2f} needed)"
        raise ModelRefusedError("abstained", text, score)
    mask = _on_panel(cells, inputs)
    if not mask.any():
        raise ModelRefusedError("abstained", "the lesion found is smaller than a pixel of the image", score)
    return Segmentation(
        identity=model.identity,
        mask=mask,
        probability=np.ascontiguousarray(probability, dtype=np.float32),
        confidence=confidence,
        area_mm2=float(mask.sum() * inputs.spacing_mm.z_mm * inputs.spacing_mm.x_mm),
        other_components=len(plausible) - 1,
        ood_score=score,
        threshold=outputs.threshold,
        temperature=outputs.temperature,
        limitations=_limitations(model, len(plausible) - 1),
    )


def _on_panel(cells: BoolArray, inputs: LesionInputs) -> BoolArray:
    """The cells' mask on the panel's pixels: the half-way contour of a linear interpolation between cell centres."""
    rows, columns = inputs.panel_shape
    z = (np.arange(rows) + 0.5) * inputs.spacing_mm.z_mm / inputs.cell_mm - 0.5
    x = (np.arange(columns) + 0.5) * inputs.spacing_mm.x_mm / inputs.cell_mm - 0.5
    grid = np.meshgrid(z, x, indexing="ij")
    inside: BoolArray = map_coordinates(cells.astype(np.float32), grid, order=1, mode="nearest") > 0.5
    return inside


def segment_vessels(models: Models, inputs: VesselInputs) -> Segmentation | Refusal:
    """All vessels of a super-resolved map; their share of a ROI is its perfusion density at any length of clip."""
    return segment_vessels_with(models.active["vessel_seg"], inputs)


def segment_vessels_with(model: LoadedModel, inputs: VesselInputs) -> Segmentation | Refusal:
    """The same by a given model."""
    try:
        manifest, _ = model.ready()
        check_applicable(manifest, replace(inputs.facts, pixel_mm=inputs.pixel_mm))
        if not np.isfinite(inputs.density).all() or (inputs.density < 0).any():
            raise ModelRefusedError("bad_contract", "the density map holds values that are no counts")
        if not inputs.density.any():
            raise ModelRefusedError("not_applicable", "no track crosses the map")
        tensor = density_tensor(inputs.density)
        score = check_known_input(manifest, vessel_statistics(tensor))
        given = padded(tensor, np.zeros(2, dtype=np.float32))
        rows, columns = inputs.density.shape
        logits = model.answer(given, (1, 1, *given.shape[2:]))[0, 0, :rows, :columns]
        return _vessels(model, manifest, inputs, (sigmoid(logits, manifest.outputs.temperature), score))
    except ModelRefusedError as error:
        return refused_by(model, error)


def _vessels(
    model: LoadedModel, manifest: Manifest, inputs: VesselInputs, found: tuple[FloatArray, float]
) -> Segmentation:
    probability, score = found
    outputs = manifest.outputs
    mask: BoolArray = probability > outputs.threshold
    confidence = float(probability[mask].mean()) if mask.any() else 0.0
    area_mm2 = float(mask.sum()) * inputs.pixel_mm**2
    if confidence < outputs.abstain_below or not outputs.area_mm2.contains(area_mm2):
        sure = f"{confidence:.2f}, {outputs.abstain_below:.2f} needed"
        raise ModelRefusedError("abstained", f"too few tracks to be sure of the vessels between them ({sure})", score)
    limit = Limitation("vessels_by_model", f"vessel mask: {model.identity.evidence}", "note", ("super_resolution",))
    return Segmentation(
        identity=model.identity,
        mask=mask,
        probability=np.ascontiguousarray(probability, dtype=np.float32),
        confidence=confidence,
        area_mm2=area_mm2,
        other_components=0,
        ood_score=score,
        threshold=outputs.threshold,
        temperature=outputs.temperature,
        limitations=(limit,),
    )


def _limitations(model: LoadedModel, others: int) -> tuple[Limitation, ...]:
    text = f"automatic contour, not confirmed: {model.identity.evidence}"
    contour = Limitation("roi_by_model", text, "degraded", ("rois",))
    if not others:
        return (contour,)
    text = f"{others} other area{'s' if others > 1 else ''} looked like a lesion; the largest was measured"
    return (contour, Limitation("several_lesions", text, "degraded", ("rois",)))
