"""A site's models in the shadow: asked beside the active one on the same case, listed, deciding nothing.

So a new model is watched on a site's own patients before anybody answers for it (`ceus-node models activate`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dicom_node.config import Settings
from dicom_node.model_room import lesion_inputs, models_for, use_of
from onnx_models.classify import Classification, ResponseInputs, ResponseResult, glass_box_answer, network_answer
from onnx_models.identity import Refusal
from onnx_models.segment import Segmentation, VesselInputs, segment_lesion_with, segment_vessels_with
from processing.cine import Cine
from processing.errors import UnfitCineError
from processing.model_inputs import model_inputs, parameters_of
from reports.model_use import ShadowUse

Answer = Segmentation | Classification | Refusal


def shadow_of_lesion(
    cine: Cine, rejected: NDArray[np.bool_], active: Segmentation | Refusal, settings: Settings, range_db: float | None
) -> tuple[ShadowUse, ...]:
    """The lesion model in the shadow, on maps of its own preprocessing; () where there is none."""
    model = models_for(settings).shadows.get("lesion_seg")
    if model is None or cine.spacing_mm is None:
        return ()
    try:
        maps = model_inputs(cine, rejected, parameters_of(cine, model.preprocessing))
    except UnfitCineError:
        # The active model's stage has said it: a shadow adds no limitation.
        return ()
    return (_use(segment_lesion_with(model, lesion_inputs(cine, maps, range_db)), active),)


def shadow_of_vessels(
    inputs: VesselInputs, active: Segmentation | Refusal, settings: Settings
) -> tuple[ShadowUse, ...]:
    """The vessel model in the shadow; () where there is none."""
    model = models_for(settings).shadows.get("vessel_seg")
    return () if model is None else (_use(segment_vessels_with(model, inputs), active),)


def shadow_of_response(inputs: ResponseInputs, active: ResponseResult, settings: Settings) -> tuple[ShadowUse, ...]:
    """Both response models in the shadow, as far as there are any and the active ones were asked."""
    shadows, found = models_for(settings).shadows, []
    network, glass_box = shadows.get("response_cls"), shadows.get("response_lr")
    if network is not None and _asked(active.network):
        found.append(_use(network_answer(network, inputs), active.network))
    if glass_box is not None and _asked(active.glass_box):
        found.append(_use(glass_box_answer(glass_box, inputs), active.glass_box))
    return tuple(found)


def _asked(answer: Classification | Refusal) -> bool:
    """A study after treatment is asked of nobody."""
    return not (isinstance(answer, Refusal) and answer.state == "not_applicable")


def _use(answer: Answer, active: Answer) -> ShadowUse:
    use = use_of(answer)
    return ShadowUse(use.id, use.version, use.sha256, use.state, use.ood_score, _agreement(answer, active))


def _agreement(one: Answer, other: Answer) -> float | None:
    if isinstance(one, Segmentation) and isinstance(other, Segmentation):
        total = int(one.mask.sum()) + int(other.mask.sum())
        return 2.0 * int((one.mask & other.mask).sum()) / total if total else None
    if isinstance(one, Classification) and isinstance(other, Classification):
        a, b = one.probabilities, other.probabilities
        return 1.0 - 0.5 * sum(abs(a[name] - b[name]) for name in a) if a.keys() == b.keys() else None
    return None
