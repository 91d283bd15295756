"""The manifest of a model: what it is, what it needs, what it was measured to do. JSON, schema-versioned, no code.

A superset of the network data format of MONAI bundles (inputs and outputs with channels); units are obligatory here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from onnx_models.errors import ModelRefusedError
from onnx_models.identity import Task

SCHEMA = "ceus-node/model/1"
MANIFEST_LIMIT_BYTES = 1_000_000
"""Ours are 20 kB; a manifest larger than this is not a manifest."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$")]
"""A plain name: no separator, so it cannot leave the folder of its manifest."""
Finite = Annotated[float, Field(allow_inf_nan=False)]


class Part(BaseModel):
    """A table of the manifest: frozen; an unknown key is an error, since it might be a check that nobody makes."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelFile(Part):
    """The ONNX file: its hash is compared before a byte of it is parsed."""

    name: FileName
    sha256: Sha256
    bytes: int = Field(gt=0)
    opset: int = Field(ge=13)


class Evidence(Part):
    """What is known about this model's truthfulness, and the label shown wherever it speaks."""

    status: Literal["simulated data only", "retrospective", "prospective"]
    label: str = Field(min_length=10)


class Range(Part):
    """A closed interval; None = unbounded on that side."""

    low: Finite | None = None
    high: Finite | None = None

    def contains(self, value: float) -> bool:
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)


class Applicability(Part):
    """The clips this model was made for; anything else is `not_applicable`."""

    min_frames: int = Field(ge=1)
    min_duration_s: Finite = Field(ge=0)
    frame_rate_hz: Range
    dynamic_range_db: Range
    pixel_mm: Range


class Channel(Part):
    """One channel of an input: name and unit (UCUM), and the constants it is divided by, if any."""

    name: str
    unit: str


class TensorContract(Part):
    """A tensor of the graph: name, type and shape; a text in the shape is a free dimension."""

    name: str
    dtype: Literal["float32"] = "float32"
    shape: tuple[int | str, ...]
    channels: tuple[Channel, ...] = ()


class OutputClass(Part):
    """A class with its code (PS3.16 coded concept: value, scheme, meaning)."""

    name: str
    code: tuple[str, str, str]


class Outputs(Part):
    """How logits become an answer. The graph gives logits; everything that decides lives here."""

    tensor: TensorContract
    activation: Literal["sigmoid", "softmax"]
    classes: tuple[OutputClass, ...]
    temperature: Finite = Field(gt=0)
    threshold: Finite = Field(gt=0, lt=1)
    abstain_below: Finite = Field(ge=0, le=1)
    area_mm2: Range = Range()


class InputStatistics(Part):
    """The envelope of inputs seen in validation: Mahalanobis distance of named statistics.

    `names` orders `mean` (n,) and `inverse_covariance` (n, n); a squared distance / n above `threshold` is outside.
    """

    method: Literal["map statistics 1", "vessel statistics 1", "vector statistics 1"]
    mean: tuple[Finite, ...]
    inverse_covariance: tuple[tuple[Finite, ...], ...]
    threshold: Finite = Field(gt=0)

    @model_validator(mode="after")
    def _is_square(self) -> InputStatistics:
        n = len(self.mean)
        if n == 0 or len(self.inverse_covariance) != n or any(len(row) != n for row in self.inverse_covariance):
            raise ValueError(f"inverse_covariance must be {n} x {n}")
        return self


class Golden(Part):
    """One input and the output that this file gave where it was exported: `input` and `output` in an npz."""

    name: FileName
    sha256: Sha256
    atol: Finite = Field(gt=0, le=0.1)


class Training(Part):
    """How the model came about: enough to make it again."""

    simulator: str
    seeds: tuple[int, ...]
    cines: int = Field(ge=0)
    command: str
    versions: dict[str, str]


class Manifest(Part):
    """Everything a run-time needs to know of one model."""

    schema_version: Literal["ceus-node/model/1"] = Field(alias="schema")
    id: str = Field(pattern=r"^[a-z][a-z0-9_]{1,31}$")
    version: str = Field(pattern=r"^[0-9]+(\.[0-9]+){0,2}$")
    device_uid: str = Field(pattern=r"^2\.25\.[1-9][0-9]{0,38}$")
    task: Task
    file: ModelFile
    evidence: Evidence
    intended_use: str
    not_for: tuple[str, ...]
    applicability: Applicability
    inputs: tuple[TensorContract, ...] = Field(min_length=1, max_length=1)
    preprocessing: Literal["model_inputs 1", "model_inputs 2", "density 1", "roi crop 1", "named metrics 1"]
    outputs: Outputs
    ood: InputStatistics
    golden: Golden
    training: Training
    metrics: dict[str, Any]


def parse_manifest(path: Path) -> Manifest:
    """Read and check a manifest. Raises ModelRefusedError `missing` or `bad_contract`, with the key's name."""
    try:
        if path.is_symlink() or not path.is_file():
            raise ModelRefusedError("missing", f"no manifest at {path.parent.name}/{path.name}")
        if path.stat().st_size > MANIFEST_LIMIT_BYTES:
            raise ModelRefusedError("bad_contract", f"{path.name} is larger than a manifest can be")
        return Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ModelRefusedError("missing", f"the manifest {path.name} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ModelRefusedError("bad_contract", f"the manifest is not valid: {key}: {first['msg']}") from error
