"""Panel pixels and curves for the pages of this folder's tests: speckle, a bright lesion, a bolus."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import gaussian_filter

from processing.bubbles import FlowMaps
from processing.cine import Box, Spacing
from processing.roi import RoiLabel
from processing.tic import Tic
from reports.findings import RoiFinding
from reports.pictures import BaselineView, Curve, EnhancementView, PanelView, PictureInputs
from reports.quantity_maps import QuantityMap, flow_quantity_maps, perfusion_map
from tests.reports.scenes import ellipse

SPACING = Spacing(0.15, 0.15)
CONTRAST_BOX, BMODE_BOX = Box(40, 60, 360, 420), Box(420, 60, 740, 420)
SCALES: dict[RoiLabel, float] = {"lesion": 0.021, "reference": 0.012, "panel": 0.013}


def picture_inputs(labels: Sequence[RoiLabel], bmode: bool = True, maps: bool = False, seed: int = 7) -> PictureInputs:
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
        perfusion_maps=perfusion_maps(random) if maps else (),
        baseline=BaselineView(PanelView(contrast[::-1].copy(), CONTRAST_BOX), baseline_rois(), SPACING)
        if maps
        else None,
        flow_maps=flow_quantity_maps(flow_maps(random), CONTRAST_BOX, SPACING) if maps else {},
    )


def enhancement_view() -> EnhancementView:
    """A lesion with a rim that enhances and a shadow."""
    z, x = np.mgrid[:360, :320]
    distance = ((x - 160) / 60) ** 2 + ((z - 180) / 71) ** 2
    classes = np.where(distance < 0.7, 2, 1)
    classes[(abs(x - 150) < 12) & (z > 170)] = 3
    classes[distance >= 1] = 0
    return EnhancementView("Enhancement in this plane", classes.astype(np.uint8), 6.0, 10.0)


def perfusion_maps(random: np.random.Generator) -> tuple[QuantityMap, ...]:
    """Six smooth maps at a third of the resolution, with pixels whose fit failed."""
    z, x = np.mgrid[:120, :106]
    lesion = ((x - 53) / 20) ** 2 + ((z - 60) / 24) ** 2 < 1
    made = []
    for symbol, inside, outside in (
        ("PE", 0.021, 0.012),
        ("WiAUC", 0.098, 0.058),
        ("WiR", 0.0036, 0.0021),
        ("RT", 7.0, 7.8),
        ("mTT", 17.0, 18.9),
        ("QOF", 98.0, 95.0),
    ):
        smooth = gaussian_filter(random.normal(0, 1, lesion.shape), 3) * (0.1 if symbol == "QOF" else 0.8)
        values = np.where(lesion, inside, outside) * (1 + smooth)
        values[gaussian_filter(random.normal(0, 1, lesion.shape), 2) > 0.22] = np.nan
        made.append(perfusion_map(symbol, values.astype(np.float32), CONTRAST_BOX, SPACING, "0.9 x 2.4 mm"))
    return tuple(made)


def flow_maps(random: np.random.Generator) -> FlowMaps:
    """Winding vessels on a grid twice as fine as the panel."""
    shape = (720, 640)
    density, speed, direction = (np.zeros(shape, np.float32) for _ in range(3))
    for _ in range(140):
        z, x, heading = random.uniform(150, 550), random.uniform(125, 500), random.uniform(-np.pi, np.pi)
        fast, width = random.uniform(1, 12), int(random.integers(1, 4))
        for _ in range(200):
            heading += random.normal(0, 0.04)
            z, x = z - np.sin(heading), x + np.cos(heading)
            rows, columns = slice(int(z) - width, int(z) + width), slice(int(x) - width, int(x) + width)
            density[rows, columns] += 1
            speed[rows, columns], direction[rows, columns] = fast, np.arctan2(np.sin(heading), np.cos(heading))
    none = density == 0
    speed[none] = direction[none] = np.nan
    fine = Spacing(SPACING.z_mm / 2, SPACING.x_mm / 2)
    return FlowMaps(density, speed, direction, np.zeros_like(speed), speed / 10, fine, (-0.0375, -0.0375))


def bolus_au(time_s: np.ndarray, peak_au: float, peak_s: float) -> np.ndarray:
    """A gamma-variate bolus that arrives at 4 s."""
    x = np.clip((time_s - 4.0) / (peak_s - 4.0), 0, None)
    return peak_au * (x * np.exp(1 - x)) ** 2.2


def baseline_rois() -> tuple[RoiFinding, ...]:
    """A larger lesion than today's."""
    return (RoiFinding("lesion", 1, "model", False, 420.0, "2.25.66", ellipse(205, 238, 72, 80)),)
