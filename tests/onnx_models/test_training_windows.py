"""With torch: the windows that the lesion network is trained on still show what they are said to show."""

from __future__ import annotations

import numpy as np

from onnx_models.training.map_sets import PAD, MapExample
from tests.extras import needs_training


def _panel() -> MapExample:
    """A panel of 150 x 230 cells whose left margin has no echo; half-peak time, which no window alters, is 1 in the
    lesion and 0.5 elsewhere."""
    z, x = np.mgrid[:150, :230]
    lesion, valid = np.hypot(z - 70, x - 120) < 25, x > 20
    maps = np.full((5, 150, 230), -20.0)
    maps[3], maps[4] = 0.1, np.where(lesion, 1.0, 0.5)
    maps = np.where(valid, maps, PAD)
    return MapExample(maps.astype(np.float16), lesion, valid, "hyper", "bubble rim", False, 1, 0.25)


def test_a_window_turned_and_stretched_keeps_its_lesion_on_its_own_cells() -> None:
    needs_training("windows of the lesion network's training")
    from onnx_models.training.lesion import window

    rng = np.random.default_rng(3)
    areas = []
    for _ in range(60):
        maps, lesion, valid = window(_panel(), 160, rng)
        assert maps.shape == (5, 160, 160)
        assert maps.dtype == np.float32
        np.testing.assert_array_equal(lesion > 0, maps[4] == 1)
        np.testing.assert_array_equal(maps[:, valid == 0], np.broadcast_to(PAD[:, :, 0], (5, int((valid == 0).sum()))))
        areas.append(float(lesion.sum()))
    # Stretched by 0.75 to 1.3 along either axis, now and then cut by the window's edge.
    true = float(_panel().lesion.sum())
    assert max(areas) < 1.3**2 * true
    assert max(areas) > 1.2 * true
    assert np.median(areas) > 0.5 * true


def test_averaged_weights_are_the_mean_of_the_last_steps() -> None:
    """One weight that is set to its step: after many steps the mean lags by as many steps as are averaged."""
    needs_training("averaged weights of the mask networks")
    import torch

    from onnx_models.training.mask_training import _Average
    from onnx_models.training.networks import vessel_net

    network = vessel_net()
    weight = network.head.bias
    average = _Average(network, 20)
    for step in range(400):
        with torch.no_grad():
            weight.fill_(float(step))
        average.take(step)
    average.give()
    # The mean of an exponential window of 20 steps lies 19 steps behind; 1 step for its beginning.
    assert abs(float(weight.detach()) - (399 - 19)) < 1
