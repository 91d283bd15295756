"""Arrays inside frozen types: checked at birth, read-only afterwards."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from processing.errors import InvalidValueError


def frozen_array(name: str, array: NDArray[Any], dtype: DTypeLike, ndim: int | tuple[int, ...]) -> NDArray[Any]:
    """Return a read-only view of `array` after checking its dtype and number of axes (never a copy).

    Raises InvalidValueError with the name of the field.
    """
    allowed = (ndim,) if isinstance(ndim, int) else ndim
    if array.dtype != np.dtype(dtype):
        raise InvalidValueError(f"{name} must be {np.dtype(dtype)}, not {array.dtype}")
    if array.ndim not in allowed:
        raise InvalidValueError(f"{name} must have {' or '.join(map(str, allowed))} axes, not {array.ndim}")
    view = array.view()
    view.flags.writeable = False
    return view


def check_finite(name: str, array: NDArray[Any]) -> None:
    """Raise InvalidValueError when `array` holds NaN or infinity."""
    if not np.isfinite(array).all():
        raise InvalidValueError(f"{name} must be finite")
