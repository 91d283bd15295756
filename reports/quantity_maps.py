"""Parameter images by quantity: what a map shows, in which unit, over which grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.sr.coding import Code

from processing.bubbles import FlowMaps
from processing.cine import Box, Spacing
from processing.frozen_arrays import frozen_array
from reports import codes
from reports.derived_grid import Grid
from reports.errors import InvalidFindingsError
from reports.parameters import BY_SYMBOL


@dataclass(frozen=True, eq=False)
class QuantityMap:
    """One quantity over a grid. values: float32 (rows, columns), NaN where there is none. unit: UCUM.

    name: short, as printed ("PE"); meaning: in words; concept: its code. resolution: what one value averages, where the
    grid is finer than that.
    """

    name: str
    meaning: str
    concept: Code
    unit: str
    values: NDArray[np.float32]
    grid: Grid
    resolution: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", frozen_array("values", self.values, np.float32, 2))
        if self.values.shape != (self.grid.rows, self.grid.columns):
            raise InvalidFindingsError(f"map {self.name} is {self.values.shape}, its grid {self.grid}")

    @property
    def range(self) -> tuple[float, float] | None:
        """Smallest and largest value, None where no pixel has one."""
        known = self.values[np.isfinite(self.values)]
        return (float(known.min()), float(known.max())) if known.size else None


def perfusion_map(
    symbol: str, values: NDArray[np.float32], box: Box, pixel_mm: Spacing | None, resolution: str = ""
) -> QuantityMap:
    """The map of a bolus parameter ("PE", "mTT", ...) over the contrast panel in `box`, on any grid."""
    parameter = BY_SYMBOL[symbol]
    concept = codes.R_SQUARED if symbol == "QOF" else codes.PERFUSION_CODES[symbol]
    grid = Grid.over_box(box, values.shape, pixel_mm)
    return QuantityMap(symbol, parameter.meaning, concept, parameter.unit, values, grid, resolution)


def flow_quantity_maps(maps: FlowMaps, box: Box, pixel_mm: Spacing) -> dict[str, QuantityMap]:
    """Super-resolved density, speed and direction ("density", "speed", "direction") of the panel in `box`."""
    grid = Grid.of_flow_maps(maps, box, pixel_mm)
    crossed = np.where(maps.density > 0, maps.density, np.float32(np.nan))
    degrees = np.degrees(maps.direction_rad).astype(np.float32)
    return {
        "density": QuantityMap("Density", "Microbubble tracks per pixel", codes.own("ULM_DENSITY"), "1", crossed, grid),
        "speed": QuantityMap("Speed", "Mean flow speed", codes.FLOW_VELOCITY, "mm/s", maps.speed_mm_per_s, grid),
        "direction": QuantityMap("Direction", "Flow direction", codes.own("ULM_DIRECTION"), "deg", degrees, grid),
    }
