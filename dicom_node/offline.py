"""`ceus-node process`: the same analysis on files and folders, without a network.

One folder for each acquisition where there are several, and `summary.csv` over them; a single one lies in `--out`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from pydicom.errors import InvalidDicomError
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from dicom_node.acquisition import patient_key
from dicom_node.assembler import Acquisition, Clip, assemble
from dicom_node.cine_reader import CineFile, open_cine
from dicom_node.clips import Arrival, clip_of
from dicom_node.comparing import Earlier
from dicom_node.config import Settings, result_digest
from dicom_node.data_folder import DataFolder
from dicom_node.earlier_results import from_folders, from_report
from dicom_node.errors import ConfigurationError, UnreadableCineError
from dicom_node.jobs import Job, job_name
from dicom_node.measuring import measure_files
from dicom_node.measuring_order import MeasuringOrder
from dicom_node.roi_choice import GivenMasks
from dicom_node.site_profiles import match_profile
from reports.errors import ReportsError
from reports.findings import Findings
from reports.tables import summary_csv


@dataclass(frozen=True)
class OfflineOrder:
    """What `process` was asked for."""

    settings: Settings
    paths: tuple[Path, ...]
    out: Path
    roi: Path | None = None
    reference: Path | None = None
    baseline: Path | None = None


def process_paths(order: OfflineOrder, console: Console) -> bool:
    """Measure everything below the paths; say whether any result that was asked for was refused.

    Raises ConfigurationError where no file is named.
    """
    headers = _headers(order, console)
    now = datetime.now(UTC)
    acquisitions = _acquisitions(order, headers, now)
    done: list[tuple[str, Findings]] = []
    named = _named(order.baseline)
    given = GivenMasks(order.roi, order.reference)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        for number, acquisition in enumerate(acquisitions, 1):
            name = f"{number:03d}-{acquisition.name[:8]}" if len(acquisitions) > 1 else ""
            measuring = MeasuringOrder(
                order.settings, DataFolder(order.out), _job(order.settings, acquisition, headers, now)
            )
            task = progress.add_task(f"acquisition {number} of {len(acquisitions)}", total=1.0)
            shown = partial(_show, progress, task)
            earlier = named or Earlier(tuple(from_folders(order.out / name for name, _ in done)))
            done.append((name, measure_files(measuring, order.out / name, given, shown, earlier).findings))
            progress.remove_task(task)
    if len(done) > 1:
        (order.out / "summary.csv").write_text(summary_csv(done), encoding="utf-8")
    if not done:
        _print(console, "nothing was measured: there is no cine among the files")
    for name, findings in done:
        _say(order.out / name, findings, console)
    return not done or any(not findings.quality.contrast_found for _, findings in done)


def _named(report: Path | None) -> Earlier | None:
    """The baseline that the user named; None: what this run measured before is all there is to compare with."""
    if report is None:
        return None
    try:
        return Earlier((from_report(report),), given=True)
    except (OSError, InvalidDicomError, ReportsError) as error:
        raise ConfigurationError(f"--baseline: {report} is no report of this software: {error}") from error


def _headers(order: OfflineOrder, console: Console) -> dict[str, CineFile]:
    """Every readable cine below the paths by SOP Instance UID; the others are named."""
    files = [f for path in order.paths for f in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    headers: dict[str, CineFile] = {}
    for file in (f for f in files if not f.is_dir()):
        if not file.exists():
            raise ConfigurationError(f"{file} does not exist")
        try:
            header = open_cine(file)
        except UnreadableCineError as error:
            _print(console, f"not measured {file.name}: {error}")
            continue
        headers[header.facts.sop_instance_uid] = header
    return headers


def _acquisitions(order: OfflineOrder, headers: dict[str, CineFile], now: datetime) -> tuple[Acquisition, ...]:
    """As the node would assemble them, once nothing more can come."""
    clips: list[Clip] = []
    for uid, header in headers.items():
        facts = header.facts
        key = patient_key(facts.patient_id, facts.issuer_of_patient_id, "", "")
        clips.append(clip_of(header, order.settings, Arrival(uid, key, "file", now)))
    ready = assemble(clips, order.settings.series, now=now + timedelta(days=1)).ready
    times = {uid: header.facts.acquired_at or datetime.max for uid, header in headers.items()}  # noqa: DTZ901 (as written)
    return tuple(sorted(ready, key=lambda acquisition: times[acquisition.sop_instance_uids[0]]))


def _job(settings: Settings, acquisition: Acquisition, headers: dict[str, CineFile], now: datetime) -> Job:
    uids = acquisition.sop_instance_uids
    profile = match_profile(settings, headers[uids[0]].facts)[0].name
    digest = result_digest(settings, profile)
    return Job(
        name=job_name(acquisition.name, uids, digest),
        acquisition=acquisition.name,
        sop_instance_uids=uids,
        files=tuple(str(headers[uid].paths[0]) for uid in uids),
        accepted_at=now.isoformat(),
        settings_digest=digest,
        profile=profile,
    )


def _show(progress: Progress, task: TaskID, stage: str, share: float) -> None:
    progress.update(task, completed=share, description=stage)


def _say(folder: Path, findings: Findings, console: Console) -> None:
    if not findings.quality.contrast_found:
        _print(console, f"{folder}: no perfusion measured: {findings.quality.contrast_reason}")
    else:
        _print(console, f"{folder}: measured; findings.json, sr.dcm, pictures")
    for limitation in findings.quality.limitations:
        _print(console, f"  {limitation.severity}: {limitation.text}")


def _print(console: Console, line: str) -> None:
    """As it is: square brackets in names and texts are no colours, and a pipe gets whole lines."""
    console.print(line, highlight=False, markup=False, soft_wrap=True)
