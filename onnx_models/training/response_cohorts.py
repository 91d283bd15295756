"""Simulated tumours before treatment, whose later response depends on a latent perfusion phenotype and on chance.

score = phenotype + 0.6 noise; thirds of the score are the classes. Since the label is noisy, even a perfect reader of
the phenotype errs: `bayes_accuracy` says how often. One tumour is one seed, however
often it is imaged: splits are by tumour.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from onnx_models.classify import CROP, METRICS, lesion_crop, lesion_metrics
from onnx_models.training.anatomies import Plan, draw_plan
from onnx_models.training.cines import MECHANISMS, Mechanism, Sampling, simulate_plan
from processing.errors import UnfitCineError
from processing.model_inputs import mask_on_cells, model_inputs

CLASSES = ("responsive", "stable", "non_responsive")
LABEL_NOISE = 0.6
_CUT = 0.4307 * math.sqrt(1 + LABEL_NOISE**2)
"""Thirds of a normal distribution of the score's spread."""


@dataclass(frozen=True, eq=False)
class Tumours:
    """crops: float32 (n, 6, 48, 48); metrics: float64 (n, 6); labels: intp (n,); phenotype: float64 (n,)."""

    crops: NDArray[np.float32]
    metrics: NDArray[np.float64]
    labels: NDArray[np.intp]
    phenotype: NDArray[np.float64]
    seeds: NDArray[np.int64]


def tumour_plan(seed: int, phenotype: float | None = None) -> Plan:
    """A small-animal tumour of a seed; `phenotype` overrides the drawn one (dose-response)."""
    plan = draw_plan(seed)
    rng = np.random.default_rng((seed, 37))
    latent = float(rng.normal()) if phenotype is None else phenotype
    size = (float(rng.uniform(14, 20)), float(rng.uniform(14, 20)))
    return replace(
        plan,
        contrast="hyper",
        small_animal=True,
        size_mm=size,
        lesion_mm=float(rng.uniform(5, 9)),
        sector=False,
        motion_mm=float(abs(rng.normal(0, 0.1))),
        duration_s=float(rng.uniform(40, 60)),
        psf_mm=(0.15, 0.25),
        level_db=float(rng.uniform(-22, -14)),
        phenotype=latent,
    )


def label_of(seed: int, phenotype: float) -> int:
    """The class that came of it: 0 responsive, 1 stable, 2 non-responsive."""
    score = phenotype + LABEL_NOISE * float(np.random.default_rng((seed, 53)).normal())
    return 0 if score > _CUT else 2 if score < -_CUT else 1


def bayes_accuracy() -> float:
    """Accuracy of a reader who knows the phenotype exactly."""
    latent = np.linspace(-6, 6, 4001)
    responsive = norm.sf(_CUT, latent, LABEL_NOISE)
    refractory = norm.cdf(-_CUT, latent, LABEL_NOISE)
    best = np.maximum(np.maximum(responsive, refractory), 1 - responsive - refractory)
    return float((best * norm.pdf(latent)).sum() / norm.pdf(latent).sum())


def another_view(plan: Plan, view: int) -> Plan:
    """The same tumour imaged again: other speckle, bubbles, noise, motion, gain, dynamic range and compression."""
    rng = np.random.default_rng((plan.seed, 59, view))
    return replace(
        plan,
        view=view,
        level_db=plan.level_db + float(rng.uniform(-4, 4)),
        dynamic_range_db=float(rng.uniform(45, 65)),
        motion_mm=float(abs(rng.normal(0, 0.1))),
        jpeg_quality=int(rng.integers(75, 98)),
    )


def tumour_sampling(plan: Plan) -> Sampling:
    """110 to 200 pixels of 0.07 to 0.18 mm along the longer side, 2 Hz, each frame of two independent speckles."""
    return Sampling(max(plan.size_mm) / float(np.random.default_rng((plan.seed, 61, plan.view)).uniform(110, 200)))


def draw_tumours(plans: Iterable[Plan], mechanism: Mechanism) -> Tumours:
    """Crops and metrics of simulated tumours, one image a plan; those that are unfit or unmeasurable are left out."""
    crops, metrics, labels, phenotypes, kept = [], [], [], [], []
    for plan in plans:
        example = simulate_plan(plan, mechanism, tumour_sampling(plan))
        try:
            mapped = model_inputs(example.cine)
        except UnfitCineError:
            continue
        lesion = mask_on_cells(example.lesion, example.cine, mapped)
        named = lesion_metrics(mapped.maps, mapped.valid, lesion)
        if not all(math.isfinite(v) for v in named.values()) or plan.phenotype is None:
            continue
        crops.append(lesion_crop(mapped.maps, lesion))
        metrics.append([named[name] for name in METRICS])
        labels.append(label_of(plan.seed, plan.phenotype))
        phenotypes.append(plan.phenotype)
        kept.append(plan.seed)
    return Tumours(
        np.array(crops, dtype=np.float32).reshape(-1, 6, CROP, CROP),
        np.array(metrics, dtype=np.float64).reshape(-1, len(METRICS)),
        np.array(labels, dtype=np.intp),
        np.array(phenotypes, dtype=np.float64),
        np.array(kept, dtype=np.int64),
    )


def save_tumours(path: Path, tumours: Tumours) -> None:
    """One npz a cohort."""
    np.savez(path, **{name: getattr(tumours, name) for name in _ARRAYS})


def load_tumours(path: Path) -> Tumours:
    """Read what `save_tumours` wrote."""
    with np.load(path) as stored:
        return Tumours(*(stored[name] for name in _ARRAYS))


_ARRAYS = ("crops", "metrics", "labels", "phenotype", "seeds")


FIRST_SEED = {"train": 9_000_000, "validation": 9_200_000, "test": 9_400_000}
COUNT = {"train": 600, "validation": 150, "test": 720}
"""Tumours of each simulator. 720 of three equally likely classes: more than 200 a class in the test."""
QUOTA = (175, 136, 276)
"""Images of each class in the published experiment: responsive, stable, non-responsive."""
EXPERIMENT_SEED = {"real": 9_600_000, "synthetic": 9_650_000}
MOST_VIEWS = 5


def plans_by_quota(first_seed: int, quota: Sequence[int], most_views: int = 1) -> list[Plan]:
    """Tumours from `first_seed` on, each imaged once to `most_views` times, until every class has its images."""
    left, plans, seed = list(quota), [], first_seed
    while any(left):
        plan = tumour_plan(seed)
        label = label_of(seed, plan.phenotype or 0.0)
        views = min(int(np.random.default_rng((seed, 67)).integers(1, most_views + 1)), left[label])
        plans += [another_view(plan, view) if view else plan for view in range(views)]
        left[label] -= views
        seed += 1
    return plans


def cohort_plans(kind: str, place: int) -> Iterable[Plan]:
    """Plans of one cohort: of a kind and of the mechanism at `place`."""
    if kind == "real":
        return plans_by_quota(EXPERIMENT_SEED[kind], QUOTA, MOST_VIEWS)
    if kind == "synthetic":
        # Enough of the rarest class to bring it to the size of the largest.
        return plans_by_quota(EXPERIMENT_SEED[kind], [max(n, max(QUOTA) - min(QUOTA)) for n in QUOTA])
    first = FIRST_SEED[kind] + 100_000 * place
    return (tumour_plan(seed) for seed in range(first, first + COUNT[kind]))


COHORTS = [(kind, place) for kind in FIRST_SEED for place in range(len(MECHANISMS))]
COHORTS += [("real", 1), ("synthetic", 0)]
"""In the experiment the bubble rim plays real, the perfusion field is what synthetic images are drawn from."""


def make_cohorts(folder: Path, kinds: Iterable[str]) -> None:
    """Draw and store the cohorts of these kinds; those that are there are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind, place in COHORTS:
        path = folder / f"{kind}-{place}.npz"
        if kind in kinds and not path.exists():
            save_tumours(path, draw_tumours(cohort_plans(kind, place), MECHANISMS[place]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    make_cohorts(parser.parse_args().out, {kind for kind, _ in COHORTS})


if __name__ == "__main__":
    main()
