"""The lesion model measured through the run-time itself: contours, curves, abstentions, guard."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from onnx_models.identity import Refusal
from onnx_models.loaded import ClipFacts, LoadedModel
from onnx_models.manifest import InputStatistics
from onnx_models.segment import LesionInputs, Segmentation, segment_lesion_with
from onnx_models.tensors import map_statistics, outside_score
from onnx_models.training.cines import MECHANISMS
from onnx_models.training.evaluation import agreement_figure, dice, mean_figure, separation, share_figure
from onnx_models.training.map_sets import TEST_SEED, training_sampling
from onnx_models.training.non_contrast import KINDS, non_contrast_maps
from onnx_models.training.test_cines import TestCine, make_test_cine
from processing.cine import Spacing

RESIMULATED_SEED, NON_CONTRAST_SEED = TEST_SEED + 50_000, TEST_SEED + 72_000
CURVE_PARAMETERS = ("peak enhancement", "time to peak", "area under the curve", "wash-in rate")


@dataclass(frozen=True, eq=False)
class Outcome:
    """What the model did with one cine. dice: 0 where a lesion was there and no answer came. curves: log or s,
    (2, 4), by the model's mask and by the true one."""

    cine: TestCine
    state: str
    dice: float
    score: float
    curves: NDArray[np.float64] | None

    @property
    def iso(self) -> bool:
        return not self.cine.lesion.any()


def outcome_of(model: LoadedModel, cine: TestCine) -> Outcome:
    """Ask the run-time; every refusal counts as it would in a node."""
    answer = segment_lesion_with(model, cine.inputs)
    if isinstance(answer, Refusal):
        return Outcome(cine, answer.state, 0.0, answer.ood_score or 0.0, None)
    overlap = dice(answer.mask, cine.lesion)
    curves = None
    if cine.lesion.any():
        curves = np.stack([curve_parameters(cine, mask) for mask in (answer.mask, cine.lesion)])
    return Outcome(cine, "ok", overlap, answer.ood_score, curves)


def curve_parameters(cine: TestCine, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Model-free reading of the mask's curve: ln peak enhancement, time to peak (s), ln area, ln steepest rise."""
    rows, columns = cine.inputs.valid.shape
    cell_mm, spacing_mm = cine.inputs.cell_mm, cine.inputs.spacing_mm
    z = (np.arange(rows) + 0.5) * cell_mm / spacing_mm.z_mm - 0.5
    x = (np.arange(columns) + 0.5) * cell_mm / spacing_mm.x_mm - 0.5
    weight = map_coordinates(mask.astype(np.float32), np.meshgrid(z, x, indexing="ij"), order=1) * cine.inputs.valid
    power = 10 ** (cine.cell_db.astype(np.float64) / 10)
    curve = (power * weight).sum(axis=(1, 2)) / max(float(weight.sum()), 1e-9)
    smooth = np.convolve(np.pad(curve, 1, mode="edge"), np.ones(3) / 3, mode="valid")
    rise = smooth - smooth[: max(int(smooth.argmax()), 1)].min()
    logs = np.log(np.maximum([rise.max(), rise.sum(), np.diff(rise).max()], 1e-9))
    return np.array([logs[0], float(rise.argmax()), logs[1], logs[2]])


def lesion_rows(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Lines of the card about contours and curves."""
    drawn = [o for o in outcomes if not o.iso]
    rows = []
    for mechanism in MECHANISMS:
        seen = [o.dice for o in drawn if o.cine.mechanism == mechanism]
        rows.append(
            mean_figure(seen).row(f"Dice, held-out cines of the {mechanism} simulator, refusals as 0", ">= 0.88")
        )
    answered = [o.dice for o in drawn if o.state == "ok"]
    rows.append(mean_figure(answered).row("Dice where an answer was given"))
    strata = _strata(drawn)
    worst = min(strata, key=lambda name: float(np.mean(strata[name])))
    rows.append(mean_figure(strata[worst]).row(f"Dice of the worst stratum ({worst})", ">= 0.75"))
    low = sum(o.dice < 0.5 for o in drawn)
    rows.append(
        share_figure(low, len(drawn)).row("share of lesions with Dice below 0.5, refusals among them", "< 0.03")
    )
    iso = [o for o in outcomes if o.iso]
    quiet = sum(o.state != "ok" for o in iso)
    rows.append(share_figure(quiet, len(iso)).row("abstained where nothing differs (iso or no lesion)", "1"))
    both = [o.curves for o in drawn if o.curves is not None]
    for k, name in enumerate(CURVE_PARAMETERS):
        pairs = np.array([[c[0, k], c[1, k]] for c in both])
        figure = agreement_figure(pairs[:, 0], pairs[:, 1])
        rows.append(figure.row(f"ICC of {name}, model's ROI against true ROI", ">= 0.9"))
    return rows


def stratum_rows(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Dice by stratum."""
    strata = _strata([o for o in outcomes if not o.iso])
    return [mean_figure(values).row(f"Dice, {name}") for name, values in sorted(strata.items())]


def _strata(outcomes: Iterable[Outcome]) -> dict[str, list[float]]:
    strata: dict[str, list[float]] = {}
    for o in outcomes:
        size = "under 10 mm" if o.cine.lesion_mm < 10 else "10 to 20 mm" if o.cine.lesion_mm < 20 else "over 20 mm"
        for name in (o.cine.contrast, "small animal" if o.cine.small_animal else "human", size):
            strata.setdefault(name, []).append(o.dice)
    # A stratum of fewer than five cines is no stratum.
    return {name: values for name, values in strata.items() if len(values) >= 5}


def guard_rows(
    model: LoadedModel, envelope: InputStatistics, outcomes: Sequence[Outcome], count: int = 25
) -> list[dict[str, Any]]:
    """How well input statistics tell contrast from anything else, and how often both gates together let a contour be
    drawn on something else."""
    inside = np.array(
        [outside_score(map_statistics(o.cine.inputs.maps, o.cine.inputs.valid), envelope) for o in outcomes]
    )
    refused = int((inside > envelope.threshold).sum())
    rows = [share_figure(refused, inside.size).row("contrast cines refused as unlike the validated ones")]
    everything: list[NDArray[np.float64]] = []
    for kind in KINDS:
        maps = [non_contrast_maps(NON_CONTRAST_SEED + k, kind) for k in range(count)]
        outside = np.array([outside_score(map_statistics(*m), envelope) for m in maps])
        everything.append(outside)
        rows.append(_separation_row(inside, outside, kind, ""))
        caught = int((outside > envelope.threshold).sum())
        rows.append(share_figure(caught, count).row(f"{kind} refused"))
        drawn = sum(isinstance(segment_lesion_with(model, _inputs_of(*m)), Segmentation) for m in maps)
        rows.append(share_figure(drawn, count).row(f"{kind}: a contour was drawn", "0"))
    return [_separation_row(inside, np.concatenate(everything), "all that is none", ">= 0.98"), *rows]


def _separation_row(inside: NDArray[np.float64], outside: NDArray[np.float64], kind: str, asked: str) -> dict[str, Any]:
    area = round(separation(inside, outside), 4)
    return {"what": f"AUROC of the guard, contrast against {kind}", "n": outside.size, "asked": asked, "value": area}


def _inputs_of(maps: NDArray[np.float32], valid: NDArray[np.bool_]) -> LesionInputs:
    facts = ClipFacts(frames=120, duration_s=60.0, frame_rate_hz=2.0, dynamic_range_db=60.0, pixel_mm=0.25)
    return LesionInputs(maps, valid, 0.25, (valid.shape[0], valid.shape[1]), Spacing(0.25, 0.25), facts)


def resimulated(model: LoadedModel, count: int = 8) -> dict[str, float]:
    """Mean Dice on a few held-out cines at training's sampling, drawn anew each time: what the suite repeats."""
    means: dict[str, float] = {}
    for place, mechanism in enumerate(MECHANISMS):
        seeds = range(RESIMULATED_SEED + 100_000 * place, RESIMULATED_SEED + 100_000 * place + 3 * count)
        cines = (make_test_cine(s, mechanism, training_sampling(s), model.preprocessing) for s in seeds)
        with_lesion = islice((c for c in cines if c.lesion.any()), count)
        means[mechanism] = round(float(np.mean([outcome_of(model, c).dice for c in with_lesion])), 4)
    return means
