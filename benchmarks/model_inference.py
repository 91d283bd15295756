"""Every shipped model on one core: time of a call beside the making of its input, and peak memory of the process.

The peer is the map-making that has to come before (`processing.model_inputs` on a minute of a 320 x 288 cell panel):
a call that costs less than its own input is not what anybody waits for. Asked: segmentation <= 10 ms a cine.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from onnx_models.registry import Models, RegistryOptions
from onnx_models.session import Session
from onnx_models.tensors import density_tensor
from processing.cine import Cine, Spacing, TimeZero
from processing.model_inputs import model_inputs

CALLS = 30
SHAPES = {
    "lesion_seg": (1, 5, 320, 288),
    "vessel_seg": (1, 2, 512, 512),
    "response_cls": (1, 6, 48, 48),
    "response_lr": (1, 6),
}
ASKED_MS = {"lesion_seg": 10.0}


def main() -> None:
    print(f"peak memory before {_peak_mb():.0f} MB", end="")
    models = Models.open()
    print(f", all models open {_peak_mb():.0f} MB; processor time of one thread, median of {CALLS} calls")
    rows = [(task, *_called(task, model.session)) for task, model in models.active.items() if model.session is not None]
    maps_ms = _median_ms(_map_making(), 3)
    print(f"  maps of a 60 s, 10 Hz panel: {maps_ms:.0f} ms")
    for task, spent_ms, peak_mb in rows:
        asked = f"  asked <= {ASKED_MS[task]:g} ms" if task in ASKED_MS else ""
        share = spent_ms / maps_ms
        print(f"  {task:14s} {spent_ms:7.2f} ms = {share:6.1%} of the maps, peak so far {peak_mb:.0f} MB{asked}")
    _on_cuda(rows)
    density = np.random.default_rng(1).poisson(0.3, (512, 512)).astype(np.float32)
    print(f"  density maps of vessel_seg: {_median_ms(lambda: density_tensor(density), 5):.2f} ms")


def _on_cuda(rows: list[tuple[str, float, float]]) -> None:
    """The same calls where a GPU is found, by the clock: the runtime falls back to the CPU with a log line only."""
    models = Models.open(RegistryOptions(device="cuda"))
    for task, _, _ in rows:
        session, plain = models.active[task].session, Models.open().active[task].session  # type: ignore[index]
        if session is None or plain is None or session.provider != "CUDAExecutionProvider":
            print(f"  {task:14s} on CUDA: not measured, no GPU was found")
            continue
        given = np.zeros(SHAPES[task], dtype=np.float32)
        cuda_ms, cpu_ms = (_median_ms(partial(s.run, given, 60.0), CALLS, time.perf_counter) for s in (session, plain))
        print(f"  {task:14s} {cuda_ms:7.2f} ms on CUDA = {cpu_ms / cuda_ms:.1f} times as fast as one core")


def _called(task: str, session: Session) -> tuple[float, float]:
    given = np.zeros(SHAPES[task], dtype=np.float32)
    return _median_ms(lambda: session.run(given, 60.0), CALLS), _peak_mb()


def _map_making() -> Callable[[], object]:
    rng = np.random.default_rng(2)
    frames, rows, columns = 600, 320, 288
    valid = np.ones((rows, columns), dtype=np.bool_)
    contrast = rng.random((frames, rows, columns), dtype=np.float32)
    saturated = np.zeros((rows, columns), dtype=np.uint32)
    cine = Cine(contrast, valid, saturated, 1e-6, np.arange(frames) / 10.0, TimeZero(), Spacing(0.25, 0.25), (0, 0))
    return lambda: model_inputs(cine)


def _median_ms(call: Callable[[], object], calls: int, clock: Callable[[], float] = time.process_time) -> float:
    call()
    spent = []
    for _ in range(calls):
        begun = clock()
        call()
        spent.append(1e3 * (clock() - begun))
    return float(np.median(spent))


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
