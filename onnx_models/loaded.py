"""A model on its way from a folder to an answer: checks at registration and start-up, guards at each call."""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnx_models.errors import ModelRefusedError
from onnx_models.identity import TASK_WORDS, ModelIdentity, Refusal, State
from onnx_models.manifest import Manifest, parse_manifest
from onnx_models.onnx_file import check_file
from onnx_models.session import Device, Session, check_contract, open_session
from onnx_models.tensors import check_input, check_output, outside_score
from processing.model_inputs import LATEST

FloatArray = NDArray[np.float32]

FAILURES_TO_OPEN = 3
"""Circuit breaker: after three failures in a row a model is not asked again before the process starts anew."""
MODEL_LIMIT_BYTES = 512 * 2**20
START_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class ClipFacts:
    """What applicability is judged by. `dynamic_range_db` None: nobody declared it, and it is not judged."""

    frames: int
    duration_s: float
    frame_rate_hz: float
    dynamic_range_db: float | None
    pixel_mm: float


@dataclass(eq=False)
class LoadedModel:
    """A model of this process. Every check failed so far is in `state` and `sentence`; "ok" can be asked."""

    identity: ModelIdentity
    state: State
    sentence: str
    manifest: Manifest | None = None
    session: Session | None = None
    failures: int = 0
    timeout_s: float = 10.0
    folder: Path | None = None

    @property
    def preprocessing(self) -> str:
        """Which version of its input this model was trained on; the latest where no manifest could be read."""
        return self.manifest.preprocessing if self.manifest is not None else LATEST

    def refusal(self, state: State, sentence: str, ood_score: float | None = None) -> Refusal:
        """A refusal in words for the report."""
        words = TASK_WORDS.get(self.identity.task, self.identity.id)
        return Refusal(self.identity, state, f"{words} model: {sentence}", ood_score)

    def ready(self) -> tuple[Manifest, Session]:
        """Manifest and session. Raises ModelRefusedError with the state that the start-up gave."""
        if self.state != "ok" or self.manifest is None or self.session is None:
            raise ModelRefusedError(self.state, self.sentence)
        if self.failures >= FAILURES_TO_OPEN:
            raise ModelRefusedError("disabled", f"not asked again after {self.failures} failures in a row")
        return self.manifest, self.session

    def answer(self, tensor: FloatArray, expected: tuple[int, ...]) -> FloatArray:
        """One guarded call: logits of `expected` shape. Raises ModelRefusedError; failures open the breaker."""
        manifest, session = self.ready()
        check_input(tensor, manifest.inputs[0])
        try:
            logits = session.run(tensor, self.timeout_s)
            check_output(logits, manifest.outputs.tensor, expected)
        except ModelRefusedError:
            self.failures += 1
            raise
        self.failures = 0
        return logits


def check_applicable(manifest: Manifest, facts: ClipFacts) -> None:
    """Raises ModelRefusedError `not_applicable` with the limit that the clip breaks."""
    a = manifest.applicability
    if facts.frames < a.min_frames:
        raise ModelRefusedError("not_applicable", f"{facts.frames} frames, made for {a.min_frames} and more")
    if facts.duration_s < a.min_duration_s:
        text = f"{facts.duration_s:.0f} s of clip, made for {a.min_duration_s:g} s and more"
        raise ModelRefusedError("not_applicable", text)
    judged = [("frame rate", facts.frame_rate_hz, a.frame_rate_hz, "Hz"), ("pixel", facts.pixel_mm, a.pixel_mm, "mm")]
    if facts.dynamic_range_db is not None:
        judged.append(("dynamic range", facts.dynamic_range_db, a.dynamic_range_db, "dB"))
    for name, value, limits, unit in judged:
        if not limits.contains(value):
            span = f"{limits.low if limits.low is not None else ''} to {limits.high if limits.high is not None else ''}"
            raise ModelRefusedError("not_applicable", f"{name} of {value:.3g} {unit}, made for {span.strip()} {unit}")


def check_known_input(manifest: Manifest, statistics: NDArray[np.float64]) -> float:
    """The input's out-of-distribution score. Raises ModelRefusedError `ood` above the manifest's threshold."""
    score = outside_score(statistics, manifest.ood)
    if score > manifest.ood.threshold:
        limit = f"score {score:.3g}, limit {manifest.ood.threshold:.3g}"
        text = f"this input is unlike anything the model was validated on ({limit})"
        raise ModelRefusedError("ood", text, score)
    return score


def load_model(folder: Path, device: Device = "cpu", timeout_s: float = 10.0) -> LoadedModel:
    """All checks of registration and start-up, in the order of docs/models.md. Never raises for the model's fault."""
    identity = ModelIdentity(folder.parent.name, folder.name, "", "", "", "", "")
    try:
        manifest = parse_manifest(folder / "manifest.json")
        identity = _identity(manifest, "")
        if (manifest.id, manifest.version) != (folder.parent.name, folder.name):
            text = f"the manifest says {manifest.id} {manifest.version}, its folder {folder.parent.name} {folder.name}"
            raise ModelRefusedError("bad_contract", text)
        content = _hashed(folder, manifest.file.name, manifest.file.sha256)
        check_file(content, manifest.file.opset)
        session = open_session(content, device)
        identity = _identity(manifest, session.provider)
        check_contract(manifest.inputs[0], session.inputs)
        check_contract(manifest.outputs.tensor, session.outputs)
        _check_golden(folder, manifest, session)
    except ModelRefusedError as error:
        return LoadedModel(identity, error.state, error.sentence)
    sentence = "all checks passed"
    if device == "cuda" and session.provider != "CUDAExecutionProvider":
        sentence += f"; CUDA was asked for, the runtime uses {session.provider}"
    return LoadedModel(identity, "ok", sentence, manifest, session, timeout_s=timeout_s, folder=folder)


def absent(name: str, version: str, task: str, state: State, sentence: str) -> LoadedModel:
    """The place of a model that is not there, or switched off."""
    return LoadedModel(ModelIdentity(name, version, "", "", task, "", ""), state, sentence)


def refused_by(model: LoadedModel, error: ModelRefusedError) -> Refusal:
    """The refusal that an error of a call becomes."""
    return model.refusal(error.state, error.sentence, error.ood_score)


def _identity(manifest: Manifest, provider: str) -> ModelIdentity:
    return ModelIdentity(
        manifest.id,
        manifest.version,
        manifest.file.sha256,
        manifest.device_uid,
        manifest.task,
        provider,
        manifest.evidence.label,
    )


def _hashed(folder: Path, name: str, sha256: str) -> bytes:
    """The bytes of a regular file inside its folder, hashed before anybody parses them."""
    path = folder / name
    try:
        if folder.is_symlink() or path.is_symlink() or (path.exists() and not path.is_file()):
            raise ModelRefusedError("bad_contract", f"{name} is not a regular file of its own folder")
        if not path.exists():
            raise ModelRefusedError("missing", f"{name} is not in the model's folder")
        if path.stat().st_size > MODEL_LIMIT_BYTES:
            raise ModelRefusedError("bad_contract", f"{name} is larger than {MODEL_LIMIT_BYTES >> 20} MB")
        content = path.read_bytes()
    except OSError as error:
        raise ModelRefusedError("missing", f"{name} cannot be read: {error.strerror}") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ModelRefusedError("hash_mismatch", f"{name} is not the file that its manifest describes")
    return content


def _check_golden(folder: Path, manifest: Manifest, session: Session) -> None:
    """The stored input must give the stored output: a flipped weight that a hash was made for anew is found here."""
    content = _hashed(folder, manifest.golden.name, manifest.golden.sha256)
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            tensor, wanted = stored["input"], stored["output"]
    except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise ModelRefusedError("golden_failed", f"the golden vector cannot be read: {error}") from error
    check_input(tensor, manifest.inputs[0])
    got = session.run(tensor, START_TIMEOUT_S)
    if got.shape != wanted.shape:
        raise ModelRefusedError("golden_failed", f"the golden answer has shape {list(got.shape)}")
    apart = float(np.abs(got - wanted).max()) if np.isfinite(got).all() else float("inf")
    if not apart <= manifest.golden.atol:
        raise ModelRefusedError("golden_failed", f"the golden answer is off by {apart:.3g}")


def renamed(model: LoadedModel, task: str) -> LoadedModel:
    """The model under the task that it was looked for, where its manifest could not say it."""
    if not model.identity.task:
        model.identity = replace(model.identity, task=task)
    return model
