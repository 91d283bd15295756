"""The predicted response in the structured report: a group for each model, identity and evidence in the item itself.

IHE AI Results: every class's probability, an abstention as an answer of its own, what the models disagree by.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from highdicom.sr import AlgorithmIdentification, MeasurementsAndQualitativeEvaluations

from reports import codes
from reports.findings import Findings, Quantity
from reports.group_parts import source_image, tracking
from reports.measurements import evaluation, figure, values
from reports.model_use import ModelUse
from reports.result_object import ResultContext

RESPONSES = {
    "responsive": ("P_RESPONSIVE", "RESPONSIVE"),
    "stable": ("P_STABLE", "STABLE"),
    "non_responsive": ("P_NONRESPONSIVE", "NONRESPONSIVE"),
}


def is_response_model(model: ModelUse) -> bool:
    """Whether a model predicts responses."""
    return model.id.startswith("response")


def outlining_models(findings: Findings) -> list[ModelUse]:
    """The models that outlined what was measured; none where a reader, a file or a rule did."""
    drawn = any(roi.drawn_by == "model" for roi in findings.rois)
    return [model for model in findings.models if drawn and model.id.startswith("lesion")]


def response_groups(findings: Findings, context: ResultContext) -> Iterator[Any]:
    """The network's prediction and the glass box's; never DCM 112048, which asserts the actual response."""
    response = findings.response
    if not response.performed:
        return
    models = [model for model in findings.models if is_response_model(model)]
    for model, probabilities in zip(models, (response.probabilities, response.glass_box), strict=False):
        if probabilities:
            yield _group(findings, context, model, probabilities)


def _group(findings: Findings, context: ResultContext, model: ModelUse, probabilities: Mapping[str, float]) -> Any:
    roi, method = findings.roi("lesion"), codes.own("M_MODEL")
    figures = [
        item
        for name, (concept, _) in RESPONSES.items()
        if name in probabilities
        for item in figure(codes.own(concept), Quantity(probabilities[name], "1"), method)
    ]
    figures += figure(codes.own("DISAGREEMENT"), Quantity(findings.response.disagreement, "1"), method)
    likeliest = max(probabilities, key=lambda name: probabilities[name])
    predicted = codes.own("ABSTAINED" if model.state == "abstained" else RESPONSES[likeliest][1])
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=None if roi is None else tracking(roi),
        finding_type=codes.LESION,
        algorithm_id=model_algorithm(model, findings.response.evidence),
        source_images=[source_image(context.frame)],
        measurements=values(figures) or None,
        qualitative_evaluations=[evaluation(codes.own("PRED_RESPONSE"), predicted)],
    )


def model_algorithm(model: ModelUse, evidence: str | None) -> AlgorithmIdentification:
    """A model with the digest that identifies it, the state its guard gave it and what is known of it (TID 4019)."""
    stated = {"ood_score": model.ood_score, "threshold": model.threshold, "temperature": model.temperature}
    return AlgorithmIdentification(
        name=model.id,
        version=model.version,
        family=codes.ARTIFICIAL_INTELLIGENCE,
        parameters=[
            *((f"evidence={evidence}",) if evidence else ()),
            f"onnx sha256={model.sha256}",
            f"provider={model.provider}",
            f"state={model.state}",
            *(f"{name}={value!r}" for name, value in stated.items() if value is not None),
        ],
    )
