"""The one place that knows onnxruntime: a session from bytes, the provider it really uses, a run that ends in time."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from onnx_models.errors import ModelRefusedError
from onnx_models.manifest import TensorContract

Device = Literal["cpu", "cuda"]
Argument = tuple[str, str, tuple[Any, ...]]
"""Name, type and shape of a tensor as the graph declares it; a free dimension is a text."""


_PROVIDERS: dict[str, tuple[str, ...]] = {
    "cpu": ("CPUExecutionProvider",),
    "cuda": ("CUDAExecutionProvider", "CPUExecutionProvider"),
}
_LOG_FATAL = 4
"""onnxruntime's own log goes to stderr; what matters of it is said by the states here."""


@dataclass(eq=False)
class Session:
    """A loaded graph. `provider` is the first that the runtime really uses, not the one that was asked for.

    The runtime falls back to the CPU with a log line only, and `get_available_providers` lists CUDA without a GPU.
    """

    provider: str
    inputs: tuple[Argument, ...]
    outputs: tuple[Argument, ...]
    _session: Any = field(repr=False)

    def run(self, tensor: NDArray[np.float32], timeout_s: float) -> NDArray[np.float32]:
        """Answer one input. Raises ModelRefusedError `timeout` or `runtime_error`.

        The runtime looks at `terminate` between two operators, so a call ends soon after its time is up.
        """
        from onnxruntime import RunOptions

        options = RunOptions()
        options.log_severity_level = _LOG_FATAL
        expired = threading.Event()

        def stop() -> None:
            expired.set()
            options.terminate = True

        clock = threading.Timer(timeout_s, stop)
        clock.daemon = True
        clock.start()
        try:
            output = self._session.run([self.outputs[0][0]], {self.inputs[0][0]: tensor}, options)[0]
        except _runtime_errors() as error:
            if expired.is_set():
                raise ModelRefusedError("timeout", f"no answer within {timeout_s:g} s") from error
            raise ModelRefusedError("runtime_error", f"the runtime failed: {_first_line(error)}") from error
        finally:
            clock.cancel()
        if expired.is_set():
            raise ModelRefusedError("timeout", f"no answer within {timeout_s:g} s")
        result: NDArray[np.float32] = np.asarray(output)
        return result


def open_session(content: bytes, device: Device = "cpu", threads: int = 1) -> Session:
    """A session from bytes that were hashed and examined before. Raises ModelRefusedError `bad_contract`.

    One thread a session: the numeric child has one budget for numba, BLAS and this.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = _LOG_FATAL
    try:
        session = onnxruntime.InferenceSession(content, options, providers=list(_PROVIDERS[device]))
    except _runtime_errors() as error:
        raise ModelRefusedError("bad_contract", f"the runtime cannot load the graph: {_first_line(error)}") from error
    inputs, outputs = _arguments(session.get_inputs()), _arguments(session.get_outputs())
    return Session(session.get_providers()[0], inputs, outputs, session)


def check_contract(declared: TensorContract, given: Sequence[Argument]) -> None:
    """Compare a tensor of the graph with the manifest's. Raises ModelRefusedError `bad_contract`."""
    expected = f"tensor({declared.dtype.replace('float32', 'float')})"
    if len(given) != 1:
        raise ModelRefusedError("bad_contract", f"the graph has {len(given)} tensors where the manifest has one")
    name, kind, shape = given[0]
    if (name, kind) != (declared.name, expected):
        raise ModelRefusedError("bad_contract", f"the graph's {name} ({kind}) is not the manifest's {declared.name}")
    if len(shape) != len(declared.shape):
        text = f"{name} has {len(shape)} axes, the manifest says {len(declared.shape)}"
        raise ModelRefusedError("bad_contract", text)
    for real, said in zip(shape, declared.shape, strict=True):
        if isinstance(said, int) and real != said:
            text = f"{name} has shape {list(shape)}, the manifest {list(declared.shape)}"
            raise ModelRefusedError("bad_contract", text)


def _arguments(arguments: Sequence[Any]) -> tuple[Argument, ...]:
    return tuple((a.name, a.type, tuple(a.shape)) for a in arguments)


def _runtime_errors() -> tuple[type[Exception], ...]:
    """onnxruntime's exceptions share no base of their own below Exception; its binding also raises these two."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    named = [v for v in vars(state).values() if isinstance(v, type) and issubclass(v, Exception)]
    return (*named, RuntimeError, ValueError)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
