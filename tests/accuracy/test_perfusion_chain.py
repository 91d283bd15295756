"""The full chain without a socket: speckle, 8-bit tinted dual view, JPEG, panels, tint, level map, curve, fit."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from processing.bolus_models import SHORT_NAMES
from processing.cine import CineDescription, DisplayProfile, FrameBlock
from processing.comparison import amplitude_ratios
from processing.intake import examine, take_cine
from processing.perfusion import LevelQuality, fit_bolus, saturated_fraction
from processing.roi import Roi
from processing.simulation.anatomy import Grid
from processing.simulation.display import Display, Tint
from processing.simulation.scene import Scene
from processing.simulation.scenes import SMALL_BOLUS, bolus_scene
from processing.simulation.screen import Screen
from processing.tic import time_intensity_curve


@dataclass(frozen=True)
class JpegCine:
    """A scene as a scanner stores it lossily: each frame a JPEG of this quality, chroma halved."""

    scene: Scene
    quality: int
    grey: bool = False

    @cached_property
    def description(self) -> CineDescription:
        return replace(self.scene.description, lossy=True, colour=not self.grey)

    def luma(self) -> JpegCine:
        """The Y' of the same codestreams, as the node's reader offers it."""
        return replace(self, grey=True)

    def coded_again(self, frames: Sequence[int]) -> NDArray[np.uint8]:
        """The luma through the same quantisation once more, off its grid, as the node's reader offers it."""
        again = []
        for luma in replace(self, grey=True).sample(frames):
            stream = io.BytesIO()
            shifted = Image.fromarray(np.pad(luma, ((4, 0), (4, 0)), mode="edge"))
            shifted.save(stream, "JPEG", quality=self.quality)
            again.append(np.asarray(Image.open(stream))[4:, 4:])
        return np.stack(again)

    def blocks(self) -> Iterator[FrameBlock]:
        for block in self.scene.blocks():
            yield FrameBlock(self._coded(block.pixels), block.first_frame)

    def sample(self, frames: Sequence[int]) -> NDArray[np.uint8]:
        return self._coded(self.scene.sample(frames))

    def _coded(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        decoded = []
        for frame in frames:
            stream = io.BytesIO()
            Image.fromarray(frame).save(stream, "JPEG", quality=self.quality)
            image = Image.open(stream)
            if self.grey:
                image.draft("L", None)
            decoded.append(np.asarray(image.convert("L" if self.grey else "RGB")))
        return np.stack(decoded)


TINTS: tuple[Tint, ...] = ("copper", "hot", "grey", "amber", "blue")


def errors(seed: int, tint: Tint, coded: tuple[float, int], screen: Screen) -> dict[str, float]:
    """Percent (TTP: s) by name; names ending in " ratio" are lesion over reference. coded: range in dB, quality."""
    range_db, quality = coded
    display = Display(dynamic_range_db=range_db)
    tinted = replace(SMALL_BOLUS, screen=replace(screen, tint=tint), display=display, breathing=None)
    scene = bolus_scene(tinted, seed)
    source, truth = JpegCine(scene, quality), scene.truth
    profile = DisplayProfile(dynamic_range_db=range_db)
    cine = take_cine(source, examine(source, profile)).cine
    found, fits = {}, []
    assert truth.lesion_mask is not None
    assert truth.reference_mask is not None
    assert truth.lesion is not None
    assert truth.lesion.bolus is not None
    assert truth.reference is not None
    assert truth.reference.bolus is not None
    for mask, label in ((truth.lesion_mask, "lesion"), (truth.reference_mask, "reference")):
        roi = Roi(mask.copy(), label, "file")
        levels = LevelQuality(saturated_fraction(cine, roi))
        fits.append(fit_bolus(time_intensity_curve(cine, roi), levels=levels))
        spread = tinted.physics.point_spread(Grid(*cine.valid.shape, 0, screen.spacing_mm))
        found[f"speckles {label}"] = float(mask.sum()) / (2.0 * np.pi * spread.z_px * spread.x_px)
    for name in ("PE", "AUC", "RT", "FT", "mTT", "TTP"):
        measured, true = getattr(fits[0].metrics, SHORT_NAMES[name]), getattr(truth.lesion.bolus, SHORT_NAMES[name])
        found[name] = measured.value - true if name == "TTP" else 100.0 * (measured.value / true - 1.0)
    for name in ("PE", "AUC"):
        field = SHORT_NAMES[name]
        true = getattr(truth.lesion.bolus, field) / getattr(truth.reference.bolus, field)
        found[f"{name} ratio"] = 100.0 * (amplitude_ratios(*fits)[name].value / true - 1.0)
    return found


LIMITS = {"PE": 4.0, "AUC": 4.0, "PE ratio": 2.0, "AUC ratio": 2.0, "RT": 2.0, "FT": 2.0, "mTT": 2.0, "TTP": 0.1}
"""The issue's, in percent, TTP in s."""
CLINICAL = Screen()
"""800x600, dual view, 8 cm deep: a lesion of 27x25 mm with 730 independent speckles beside parenchyma with 1,030, as a
point spread of 0.25 x 0.42 mm (sigma) makes them. On the small screen of `make test`, 320x240, pixels of 0.39 mm are
coarser than speckle: 390 and 650."""


@pytest.mark.timeout(3000)
@pytest.mark.parametrize(
    ("screen", "seeds"),
    [
        pytest.param(SMALL_BOLUS.screen, range(1, 2), id="small"),
        # Seeds on which nothing was chosen.
        pytest.param(CLINICAL, range(101, 121), id="clinical", marks=pytest.mark.full),
    ],
)
def test_a_lossy_dual_view_cine_of_known_range_gives_the_parameters_of_its_tissue(screen: Screen, seeds: range) -> None:
    all_errors = []
    for index, seed in enumerate(seeds):
        tint, coded = TINTS[index % 5], ((60.0, 40.0, 50.0)[index % 3], (90, 95)[index % 2])
        all_errors.append(errors(seed, tint, coded, screen))
        said = "  ".join(f"{n} {v:+.2f}" for n, v in all_errors[-1].items())
        print(f"\n{tint} {coded[0]:.0f} dB q{coded[1]}: {said}", end="", flush=True)
    p95 = {name: float(np.percentile([abs(e[name]) for e in all_errors], 95)) for name in LIMITS}
    print("\np95: " + "  ".join(f"{name} {value:.2f}" for name, value in p95.items()))
    assert {name: value for name, value in p95.items() if value > LIMITS[name]} == {}
