"""Settings: one frozen tree, read once from a TOML file and the environment.

A scalar may also come from `CEUS_NODE_SECTION__KEY`, a table from the same name as JSON; the environment wins over the
file. Unknown keys, wrong types and missing files end in `ConfigurationError` with the key's name.
"""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from dicom_node.errors import ConfigurationError

AeTitle = Annotated[str, Field(min_length=1, max_length=16, pattern=r"^[\x20-\x5b\x5d-\x7e]*[\x21-\x5b\x5d-\x7e]$")]
"""PS3.5 6.2, VR AE: 16 characters at most, no backslash or control character, not blank."""
Port = Annotated[int, Field(ge=1, le=65535)]
PixelBox = tuple[int, int, int, int]
ObjectKind = Literal["sr", "sc", "seg", "pm", "pr"]
ProtocolName = Literal["liver_bolus", "bedside_bolus", "breast", "ablation", "small_animal"]
"""The presets of `processing.protocols`, named here so that reading the configuration imports no numeric stack."""


class Section(BaseModel):
    """A table of the configuration: frozen, and a key that is not known is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class NodeSettings(Section):
    """[node]: this node on the network and on its disk."""

    ae_title: AeTitle = "CEUS_NODE"
    host: str = "127.0.0.1"
    port: Port = 11112
    data_dir: Path = Path("ceus-node-data")
    workers: int = Field(default=0, ge=0, description="numeric children; 0 = one for every two cores, at least one")
    receivers: int = Field(default=1, ge=1, le=16)
    memory_mb: int = Field(default=0, ge=0, description="sum that running jobs may use; 0 = half of the machine's")


class ScannerSettings(Section):
    """[[scanner]]: a peer whose cines start jobs. `host` empty = any address."""

    ae_title: AeTitle
    host: str = ""
    profile: str = ""
    priority: int = Field(default=10, ge=1, le=1000, description="1 is served first")
    unwanted: Literal["accept_and_drop", "refuse"] = "accept_and_drop"


class DestinationSettings(Section):
    """[[destination]]: a PACS that gets the results."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,32}$")
    ae_title: AeTitle
    host: str
    port: Port
    tls: bool = False
    storage_commitment: bool = False
    commitment_wait_s: float = Field(default=600.0, gt=0, description="asked again after so long without a report")
    objects: tuple[ObjectKind, ...] = ("sr", "sc")
    dicomweb_url: str = ""
    priors: bool = Field(default=True, description="asked for the patient's earlier results")
    retrieve: Literal["get", "move"] = Field(default="get", description="move: the PACS must know this node's AE title")


class SeriesSettings(Section):
    """[series]: when an acquisition counts as complete."""

    quiet_s: float = Field(default=10.0, gt=0, description="no new instance for so long, and no association open")
    max_wait_s: float = Field(default=300.0, gt=0, description="measured even if instances keep coming")


class ProfileSettings(Section):
    """[profile.NAME]: what a site declares of one scanner model. Empty text matches anything."""

    manufacturer: str = ""
    model: str = ""
    software: str = ""
    transducer: str = ""
    station: str = ""
    processing: str = ""
    contrast_panel: Literal["auto", "left", "right", "whole"] | PixelBox = "auto"
    compression: Literal["log", "none", "table"] = "log"
    dynamic_range_db: float | None = Field(default=None, gt=0, le=200)
    grey_to_db: Path | None = None
    colour_map: str = "auto"
    time_tag: Literal["loop start", "loop end", "saved"] | None = None
    gain_db: float | None = None
    commissioned_by: str | None = None
    commissioned_on: date | None = None


class AnalysisSettings(Section):
    """[analysis]: what is measured."""

    protocol: ProtocolName = "liver_bolus"
    super_resolution: bool = True
    roi: Literal["model", "reader"] = "model"
    response: Literal["off", "shadow", "report"] = "shadow"
    treatment: Literal["unknown", "before", "after"] = "unknown"
    treated_at: datetime | None = None


class ComparisonSettings(Section):
    """[comparison]: before and after. `baseline` "protocol": the rule of `[analysis] protocol`. `look_again_min`: how
    long after a job a PACS is asked again for what came late."""

    baseline: Literal["protocol", "nearest", "first"] = "protocol"
    within_h: float | None = Field(default=None, gt=0, description="none = the rule's own")
    within_study: bool = False
    repeatability: Path | None = None
    wait_s: float = Field(default=20.0, gt=0, le=600, description="for each PACS; then the report goes without")
    look_again_min: tuple[Annotated[float, Field(gt=0, le=43200)], ...] = (10.0, 60.0, 360.0, 1440.0)


class ModelSettings(Section):
    """[models]: a site's own models. A pin names the version of a model that must be used."""

    dir: Path | None = None
    pins: dict[str, str] = {}
    device: Literal["cpu", "cuda"] = "cpu"


class ReportSettings(Section):
    """[report]. The disclaimer may be extended, never emptied."""

    disclaimer: str = "Research use only - not for diagnosis"
    sr_class: Literal["comprehensive_3d", "comprehensive", "enhanced"] = "comprehensive_3d"
    non_contrast: bool = False
    cine: bool = Field(default=False, description="also the motion-corrected cine with its outlines, up to 50 MB")

    @field_validator("disclaimer")
    @classmethod
    def _says_research_use(cls, value: str) -> str:
        if "research use only" not in value.lower():
            raise ValueError('may be extended, never emptied: it must keep the words "Research use only"')
        return value


class SecuritySettings(Section):
    """[security]. With `require_known_peers` only configured peers may associate, and only scanners start jobs;
    without it any peer counts as a scanner."""

    require_known_peers: bool = True
    tls_port: Port = 2762
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    tls_ca: Path | None = None


class RetentionSettings(Section):
    """[retention]: how long sources and results stay on this node; it is no archive."""

    sources_days: float = Field(default=14.0, gt=0)
    results_days: float = Field(default=90.0, gt=0)
    min_free_mb: int = Field(default=1024, ge=0, description="below this the receiver answers 0xA700")


class AuditSettings(Section):
    """[audit]: the audit trail of PS3.15 A.5, in data_dir/audit and, where a host is named, at a syslog server."""

    enabled: bool = False
    syslog_host: str = ""
    syslog_port: Port = 6514
    syslog_transport: Literal["tls", "udp"] = "tls"

    @model_validator(mode="after")
    def _forwards_what_is_written(self) -> AuditSettings:
        if self.syslog_host and not self.enabled:
            raise ValueError("syslog_host without enabled = true: nothing would be audited")
        return self


class DatabaseSettings(Section):
    """[database]. Empty = SQLite in the data folder."""

    url: str = ""


class WebSettings(Section):
    """[web]: the operations page."""

    enabled: bool = True
    host: str = "127.0.0.1"
    port: Port = 8042


class LogSettings(Section):
    """[log]. `uids` "hash" keeps UIDs out of the logs, "plain" writes them."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"
    uids: Literal["hash", "plain"] = "hash"


class Settings(BaseSettings):
    """The whole configuration."""

    model_config = SettingsConfigDict(
        env_prefix="CEUS_NODE_",
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
        nested_model_default_partial_update=True,
    )

    node: NodeSettings = NodeSettings()
    scanner: tuple[ScannerSettings, ...] = ()
    destination: tuple[DestinationSettings, ...] = ()
    series: SeriesSettings = SeriesSettings()
    profile: dict[str, ProfileSettings] = {}
    analysis: AnalysisSettings = AnalysisSettings()
    comparison: ComparisonSettings = ComparisonSettings()
    models: ModelSettings = ModelSettings()
    report: ReportSettings = ReportSettings()
    security: SecuritySettings = SecuritySettings()
    retention: RetentionSettings = RetentionSettings()
    audit: AuditSettings = AuditSettings()
    database: DatabaseSettings = DatabaseSettings()
    web: WebSettings = WebSettings()
    log: LogSettings = LogSettings()

    @field_validator("destination")
    @classmethod
    def _names_are_unique(cls, value: tuple[DestinationSettings, ...]) -> tuple[DestinationSettings, ...]:
        names = [destination.name for destination in value]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise ValueError(f"two destinations are named {doubled[0]}")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over what the file says (which arrives as keyword arguments)."""
        del settings_cls, dotenv_settings, file_secret_settings
        return env_settings, init_settings


def load_settings(path: Path | None = None, **overrides: Any) -> Settings:
    """Read the TOML file, let the environment override it, and check everything.

    Relative paths in the file are taken from the file's folder. Raises ConfigurationError naming the wrong key.
    """
    table: dict[str, Any] = {}
    if path is not None:
        table = _read_toml(path)
        _anchor_paths(table, path.parent)
    _check_environment()
    try:
        return Settings(**{**table, **overrides})
    except ValidationError as error:
        raise ConfigurationError(_explain(error, path)) from error


def result_digest(settings: Settings, profile_name: str) -> str:
    """Digest of what decides a result's numbers and text: analysis, models, comparison, report, profile."""
    relevant = {
        "analysis": settings.analysis.model_dump(mode="json"),
        "models": settings.models.model_dump(mode="json"),
        "report": settings.report.model_dump(mode="json"),
        "comparison": settings.comparison.model_dump(mode="json", exclude={"wait_s", "look_again_min"}),
        "profile": profile_digest(settings, profile_name),
    }
    return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()


def profile_digest(settings: Settings, profile_name: str) -> str:
    """Digest of one profile with the content of its tables; of the empty profile when there is none."""
    profile = settings.profile.get(profile_name, ProfileSettings())
    digest = hashlib.sha256(json.dumps(profile.model_dump(mode="json"), sort_keys=True).encode())
    if profile.grey_to_db is not None:
        digest.update(profile.grey_to_db.read_bytes())
    if profile.colour_map.endswith(".csv"):
        digest.update(Path(profile.colour_map).read_bytes())
    return digest.hexdigest()


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"cannot read the configuration {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not valid TOML: {error}") from error


def _anchor_paths(table: dict[str, Any], folder: Path) -> None:
    for section, keys in (
        ("node", ("data_dir",)),
        ("models", ("dir",)),
        ("comparison", ("repeatability",)),
        ("security", ("tls_certificate", "tls_key", "tls_ca")),
    ):
        for key in keys:
            values = table.get(section)
            if isinstance(values, dict) and isinstance(values.get(key), str):
                values[key] = str(folder / values[key])
    profiles = table.get("profile")
    for profile in profiles.values() if isinstance(profiles, dict) else ():
        if isinstance(profile, dict) and isinstance(profile.get("grey_to_db"), str):
            profile["grey_to_db"] = str(folder / profile["grey_to_db"])
        if isinstance(profile, dict) and str(profile.get("colour_map", "")).endswith(".csv"):
            profile["colour_map"] = str(folder / profile["colour_map"])


def _check_environment() -> None:
    """pydantic-settings ignores unknown variables; a mistyped one must be an error as it is in the file."""
    known = {name.upper(): field.annotation for name, field in Settings.model_fields.items()}
    for variable in os.environ:
        if not variable.startswith("CEUS_NODE_"):
            continue
        section, _, key = variable.removeprefix("CEUS_NODE_").partition("__")
        if section in _OTHER_VARIABLES:
            continue
        table = known.get(section)
        if table is None:
            raise ConfigurationError(f"{variable}: there is no section [{section.lower()}]")
        if key and isinstance(table, type) and issubclass(table, Section) and key.lower() not in table.model_fields:
            raise ConfigurationError(f"{variable}: there is no key {key.lower()} in [{section.lower()}]")


_OTHER_VARIABLES = {"CONFIG", "SHARED"}
"""CEUS_NODE_CONFIG names the file itself, CEUS_NODE_SHARED the tests' data."""


def _explain(error: ValidationError, path: Path | None) -> str:
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    where = f" in {path}" if path is not None else ""
    message = "unknown key" if first["type"] == "extra_forbidden" else first["msg"].removeprefix("Value error, ")
    return f"{key}{where}: {message}"
