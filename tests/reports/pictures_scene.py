"""Panel pixels and curves for the pages of this folder's tests: speckle, a bright lesion, a bolus."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from processing.cine import Box
from processing.roi import RoiLabel
from processing.tic import Tic
from reports.pictures import Curve, PanelView, PictureInputs

CONTRAST_BOX, BMODE_BOX = Box(40, 60, 360, 420), Box(420, 60, 740, 420)
SCALES: dict[RoiLabel, float] = {"lesion": 0.021, "reference": 0.012, "panel": 0.013}


def picture_inputs(labels: Sequence[RoiLabel], bmode: bool = True, seed: int = 7) -> PictureInputs:
    random = np.random.default_rng(seed)
    z, x = np.mgrid[:360, :320]
    lesion = ((x - 160) / 60) ** 2 + ((z - 180) / 71) ** 2 < 1
    speckle = random.rayleigh(1.0, (360, 320))
    grey = np.clip(40 + 28 * speckle + 70 * lesion * speckle / 1.5, 0, 255)
    contrast = np.stack([grey, 0.72 * grey, 0.25 * grey], axis=-1).astype(np.uint8)
    tissue = np.clip(95 - 35 * lesion + 40 * random.rayleigh(1.0, (360, 320)), 0, 255).astype(np.uint8)
    time_s = np.arange(0.0, 60.0, 0.1)
    rejected = np.isin(np.arange(600), [12, 13, 14, 250, 251])
    tics, curves = [], []
    for label in labels:
        clean = bolus_au(time_s, SCALES[label], 14.2 if label != "reference" else 18.0)
        noisy = np.abs(clean * random.normal(1, 0.08, 600) + 0.0004)
        tics.append(Tic(time_s, noisy, rejected, label))
        curves.append(Curve(label, time_s.copy(), clean, "smoothed" if label == "panel" else "log-normal fit"))
    return PictureInputs(
        contrast=PanelView(contrast, CONTRAST_BOX),
        bmode=PanelView(tissue, BMODE_BOX) if bmode else None,
        tics=tuple(tics),
        curves=tuple(curves),
        frame_time_s=14.2,
    )


def bolus_au(time_s: np.ndarray, peak_au: float, peak_s: float) -> np.ndarray:
    """A gamma-variate bolus that arrives at 4 s."""
    x = np.clip((time_s - 4.0) / (peak_s - 4.0), 0, None)
    return peak_au * (x * np.exp(1 - x)) ** 2.2
