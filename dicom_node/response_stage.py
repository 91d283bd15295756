"""The predicted response of the lesion, as `[analysis] response` wants it: off, in the shadow, or in the report."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dicom_node.config import Settings
from dicom_node.model_room import clip_facts, models_for, use_of
from dicom_node.roi_choice import ChosenRois
from dicom_node.shadow_models import shadow_of_response
from onnx_models.classify import Classification, ResponseInputs, ResponseResult, Treatment, classify_response
from onnx_models.identity import Refusal
from processing.cine import Cine
from processing.errors import UnfitCineError
from processing.model_inputs import mask_on_cells, model_inputs, parameters_of
from reports.findings import Response
from reports.model_use import ModelUse, ShadowUse


@dataclass(frozen=True)
class ResponseTerms:
    """What the prediction depends on besides the pixels."""

    settings: Settings
    treatment: Treatment
    dynamic_range_db: float | None


@dataclass(frozen=True, eq=False)
class ResponseOutcome:
    """Findings and the models that were asked."""

    findings: Response
    models: tuple[ModelUse, ...] = ()
    shadows: tuple[ShadowUse, ...] = ()


def predict_response(
    cine: Cine, rejected: NDArray[np.bool_], chosen: ChosenRois, terms: ResponseTerms
) -> ResponseOutcome:
    """Ask both response models about the report's first ROI. Never raises for an unfit cine."""
    roi = chosen.rois[0]
    if terms.settings.analysis.response == "off":
        return ResponseOutcome(Response(reason="switched off: [analysis] response = off"))
    if roi.label != "lesion":
        return ResponseOutcome(Response(reason="there is no lesion contour to classify"))
    try:
        seen = chosen.maps
        if seen is None or seen.cell_mm != parameters_of(cine).cell_mm:
            seen = model_inputs(cine, rejected)
    except UnfitCineError as error:
        return ResponseOutcome(Response(reason=error.limitation.text))
    lesion = mask_on_cells(roi.mask, cine, seen)
    inputs = ResponseInputs(seen.maps, seen.valid, lesion, clip_facts(cine, terms.dynamic_range_db))
    result = classify_response(models_for(terms.settings), inputs, terms.treatment)
    uses = (use_of(result.network), use_of(result.glass_box))
    return ResponseOutcome(_findings(result), uses, shadow_of_response(inputs, result, terms.settings))


def _findings(result: ResponseResult) -> Response:
    """The network's answer with the glass box's beside it; a glass box alone predicts nothing."""
    network, glass_box = result.network, result.glass_box
    if isinstance(network, Refusal):
        return Response(reason=network.sentence, state=network.state)
    return Response(
        performed=True,
        reason=None,
        state="abstained" if network.abstained else "ok",
        probabilities=network.probabilities,
        abstained=network.abstained,
        disagreement=result.disagreement,
        label_text=_words(network),
        glass_box=None if isinstance(glass_box, Refusal) else glass_box.probabilities,
        evidence=network.identity.evidence,
    )


def _words(answer: Classification) -> str:
    if answer.label is None:
        return "abstained: no class is probable enough"
    return f"predicted class: {answer.label.replace('_', '-')} ({answer.probabilities[answer.label]:.0%})"
