"""From maps to tensors and from logits to probabilities; and the statistics that tell a known kind of input."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from onnx_models.errors import ModelRefusedError
from onnx_models.manifest import InputStatistics, TensorContract

FloatArray = NDArray[np.float32]

MULTIPLE = 32
"""The networks halve the grid five times (space-to-depth once, four levels): sides are padded to multiples of 32."""


def padded(maps: FloatArray, fill: FloatArray) -> FloatArray:
    """(C, H, W) -> (1, C, H', W') with sides that are multiples of 32; what is added looks like invalid cells."""
    channels, rows, columns = maps.shape
    shape = (1, channels, -(-rows // MULTIPLE) * MULTIPLE, -(-columns // MULTIPLE) * MULTIPLE)
    tensor = np.empty(shape, dtype=np.float32)
    tensor[:] = fill[None, :, None, None]
    tensor[0, :, :rows, :columns] = maps
    return tensor


def check_input(tensor: NDArray[np.floating], contract: TensorContract) -> None:
    """Type, shape and finiteness of one input. Raises ModelRefusedError `bad_contract`."""
    if tensor.dtype != np.dtype(contract.dtype):
        raise ModelRefusedError("bad_contract", f"the input is {tensor.dtype}, the model takes {contract.dtype}")
    fits = tensor.ndim == len(contract.shape) and all(
        not isinstance(said, int) or real == said for real, said in zip(tensor.shape, contract.shape, strict=True)
    )
    if not fits:
        shape = f"the input has shape {list(tensor.shape)}, the model takes {list(contract.shape)}"
        raise ModelRefusedError("bad_contract", shape)
    # The runtime passes NaN through silently.
    if not np.isfinite(tensor).all():
        raise ModelRefusedError("bad_contract", "the input holds values that are not finite")


def check_output(output: NDArray[np.floating], contract: TensorContract, expected: tuple[int, ...]) -> None:
    """Shape and finiteness of one answer. Raises ModelRefusedError `runtime_error`."""
    if output.shape != expected or output.dtype != np.dtype(contract.dtype):
        raise ModelRefusedError("runtime_error", f"the answer has shape {list(output.shape)}, not {list(expected)}")
    if not np.isfinite(output).all():
        raise ModelRefusedError("runtime_error", "the answer holds values that are not finite")


def sigmoid(logits: FloatArray, temperature: float) -> FloatArray:
    """Calibrated probability of each logit (Guo et al. 2017: one temperature for all)."""
    scaled = np.clip(logits / np.float32(temperature), -60, 60)
    result: FloatArray = 1 / (1 + np.exp(-scaled))
    return result


def softmax(logits: FloatArray, temperature: float) -> NDArray[np.float64]:
    """Calibrated probabilities along the last axis; sum 1."""
    scaled = logits.astype(np.float64) / temperature
    scaled = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    result: NDArray[np.float64] = scaled / scaled.sum(axis=-1, keepdims=True)
    return result


VESSEL_BLUR_PX = 3.0
"""The smoothed twin: wide enough to bridge the gaps between tracks of a sparse acquisition."""


def density_tensor(density: FloatArray) -> FloatArray:
    """Preprocessing "density 1": log(1 + tracks) of each pixel, and of a Gaussian of 3 pixels: float32 (2, h, w)."""
    counts = np.maximum(density.astype(np.float32), 0)
    smooth = gaussian_filter(counts, VESSEL_BLUR_PX, mode="constant")
    return np.stack([np.log1p(counts), np.log1p(smooth)])


def vessel_statistics(tensor: FloatArray) -> NDArray[np.float64]:
    """Statistics "vessel statistics 1" of a density tensor (2, h, w): how much is filled, how bright, how grainy."""
    fine, smooth = tensor.astype(np.float64)
    filled = fine > 0
    quantiles = np.percentile(smooth, (50, 75, 95, 99))
    neighbours = [_correlation(fine[1:], fine[:-1]), _correlation(fine[:, 1:], fine[:, :-1])]
    level = float(fine[filled].mean()) if filled.any() else 0.0
    return np.array([float(filled.mean()), level, fine.std(), *quantiles, *neighbours, _correlation(fine, smooth)])


def map_statistics(maps: FloatArray, valid: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Statistics "map statistics 1" of maps (C, H, W) over their valid cells: what kind of input this is.

    Per channel: mean, spread, 5th and 95th percentile, and correlation of neighbours down and across (noise has none,
    a still B-mode image has its own); between channels: correlations. Nothing here sees where anything lies.
    """
    values = maps[:, valid].astype(np.float64)
    if values.shape[1] < 16:
        raise ModelRefusedError("not_applicable", "fewer than 16 valid cells of 0.25 mm")
    numbers = [values.mean(axis=1), values.std(axis=1), *np.percentile(values, (5, 95), axis=1)]
    for axis in (0, 1):
        both = (valid[1:] & valid[:-1]) if axis == 0 else (valid[:, 1:] & valid[:, :-1])
        first = maps[:, :-1][:, both] if axis == 0 else maps[:, :, :-1][:, both]
        second = maps[:, 1:][:, both] if axis == 0 else maps[:, :, 1:][:, both]
        numbers.append(np.array([_correlation(a, b) for a, b in zip(first, second, strict=True)]))
    pairs = [(i, j) for i in range(maps.shape[0]) for j in range(i)]
    numbers.append(np.array([_correlation(values[i], values[j]) for i, j in pairs]))
    return np.concatenate(numbers)


def _correlation(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    spread = float(a.std() * b.std())
    return float(((a - a.mean()) * (b - b.mean())).mean()) / spread if spread > 1e-9 else 0.0


def outside_score(statistics: NDArray[np.float64], envelope: InputStatistics) -> float:
    """Squared Mahalanobis distance to the validated inputs, divided by the number of statistics (about 1 inside)."""
    if statistics.size != len(envelope.mean):
        text = f"{statistics.size} input statistics, {len(envelope.mean)} in the manifest"
        raise ModelRefusedError("bad_contract", text)
    apart = statistics - np.array(envelope.mean)
    score = float(apart @ np.array(envelope.inverse_covariance) @ apart) / statistics.size
    return score if math.isfinite(score) else math.inf
