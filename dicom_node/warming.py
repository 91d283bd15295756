"""A numeric child's rehearsal: every stage once, over two sketches of cines, so that the first job is as fast as any.

Importing the numeric stack is not enough: the kernels are compiled by their first call (about a minute of processor
time in a new installation, kept in NUMBA_CACHE_DIR) and loaded from that cache by the first call in every process. A
report must not wait for either. What is rehearsed is simulated and thrown away.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dicom_node.perfusion_stage import Levels, Terms, measure_perfusion
from processing.cine import Cine, TimeZero
from processing.intake import examine, take_cine
from processing.motion import apply_motion, estimate_motion
from processing.protocols import protocol_named
from processing.roi import Roi, RoiLabel, panel_roi
from processing.simulation.flow_scenes import FlowParameters, flow_scene
from processing.simulation.scene import Timing
from processing.simulation.scenes import TINY_BOLUS, bolus_scene
from processing.simulation.screen import Screen
from processing.super_resolution import super_resolve

SEPARATE_BUBBLES = FlowParameters(Screen(160, 200, depth_mm=20.0, tint="grey"), Timing(60.0, 6.0, 40.0))
"""Small, and yet with enough tracks (twice those needed) that the vascular bed's maps and figures are made, too."""


def rehearse() -> None:
    """Compile or load all that a job needs: modules by import, kernels by calling them."""
    import matplotlib.figure  # noqa: F401  # takes a second at the first picture otherwise

    import dicom_node.measuring  # noqa: F401  # the report writers

    _rehearse_perfusion()
    _rehearse_super_resolution()


def _rehearse_perfusion() -> None:
    scene = bolus_scene(TINY_BOLUS)
    cine = take_cine(scene, examine(scene)).cine
    protocol = protocol_named("liver_bolus")
    motion = estimate_motion(cine, protocol.motion)
    cine = apply_motion(cine, motion, None)
    rois = (_strip(cine, "lesion", 0.4, 0.6), _strip(cine, "reference", 0.7, 0.9))
    measure_perfusion(cine, rois, motion.rejected, Terms(protocol, Levels(dynamic_range_known=True, order_only=False)))


def _rehearse_super_resolution() -> None:
    scene = flow_scene(SEPARATE_BUBBLES)
    power = np.stack([scene.linear(frame) for frame in range(scene.description.frames)])
    cine = Cine(
        contrast=power,
        valid=np.ones(power.shape[1:], np.bool_),
        saturated=np.zeros(power.shape[1:], np.uint32),
        floor_au=float(max(power.min(), 1e-6)),
        frame_times_s=scene.description.frame_times_s,
        time_zero=TimeZero(),
        spacing_mm=scene.truth.spacing_mm,
        origin_px=(0, 0),
    )
    super_resolve(cine, panel_roi(cine.valid))


def _strip(cine: Cine, label: RoiLabel, left: float, right: float) -> Roi:
    """An upright strip of the panel."""
    mask: NDArray[np.bool_] = np.zeros(cine.valid.shape, np.bool_)
    columns = mask.shape[1]
    mask[:, int(left * columns) : int(right * columns)] = True
    return Roi(mask & cine.valid, label, "rule")
