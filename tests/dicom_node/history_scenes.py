"""A node's history made by hand: result folders with real reports of one patient's studies, no cine measured."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pydicom

from dicom_node.acquisition import patient_key
from dicom_node.config import Settings, load_settings
from dicom_node.data_folder import DataFolder
from dicom_node.jobs import Job, JobBook, job_name
from dicom_node.results import ResultFolder
from processing.metrics import Estimate, PerfusionMetrics
from reports.changes import compare
from reports.comparable import PatientIdentity, comparable
from reports.equipment import Equipment
from reports.findings import Comparison, Findings, Perfusion, Quantity, Response, RoiPerfusion, SuperResolution
from reports.findings_json import from_json, to_json
from reports.read_back.earlier import earlier_result
from reports.result_object import ResultContext
from reports.source_header import SourceHeader
from reports.structured_report import structured_report
from reports.uids import ResultIdentity
from tests.reports.comparison_scenes import NEAREST
from tests.reports.scenes import full_findings
from tests.reports.sources import sources

NOON = datetime(2026, 11, 20, 12)  # noqa: DTZ001  # the scanner's own clock
KEY = patient_key("P-1", "", "", "")


@dataclass(frozen=True)
class Study:
    """One acquisition `hours` after noon with a PE ratio; `revision` counts, `attributes` go into its header."""

    hours: float
    ratio: float = 2.0
    revision: int = 1
    gain_db: float = 40.0
    software: str = "0.1.0"
    attributes: dict[str, Any] = field(default_factory=dict)

    @property
    def at(self) -> datetime:
        return NOON + timedelta(hours=self.hours)

    @property
    def acquisition(self) -> str:
        return f"acquisition {self.hours:g} h"

    def header(self) -> pydicom.Dataset:
        number = int(10000 + 10 * self.hours)
        attributes = {
            "StudyInstanceUID": f"2.25.1{number}",
            "SeriesInstanceUID": f"2.25.2{number}",
            "SOPInstanceUID": f"2.25.3{number}",
            "StudyDate": f"{self.at:%Y%m%d}",
            "StudyTime": f"{self.at:%H%M%S}",
            **self.attributes,
        }
        (made,) = sources("rgb", **attributes)
        return made

    def findings(self) -> Findings:
        whole, header = full_findings(), self.header()
        uid = header.StudyInstanceUID
        source = replace(whole.source, acquired_at=self.at, study_instance_uid=uid, gain_db=self.gain_db)
        lesion = RoiPerfusion(PerfusionMetrics("log-normal", rise_time_s=Estimate(6.0)))
        perfusion = Perfusion({"lesion": lesion}, ratio={"PE": Quantity(self.ratio, "{ratio}")})
        rois = tuple(replace(roi, tracking_uid=f"{header.SOPInstanceUID}.{n}") for n, roi in enumerate(whole.rois, 1))
        return replace(
            whole,
            created=self.at.replace(tzinfo=UTC) + timedelta(minutes=self.revision),
            source=source,
            rois=rois,
            software=replace(whole.software, version=self.software),
            perfusion=perfusion,
            super_resolution=SuperResolution(),
            response=Response(),
        )


@dataclass(frozen=True)
class History:
    """A node's data folder with jobs and results in it."""

    root: Path

    @property
    def settings(self) -> Settings:
        return load_settings(None, node={"data_dir": self.root}, analysis={"protocol": "bedside_bolus"})

    @property
    def folder(self) -> DataFolder:
        return DataFolder(self.root)

    def measure(self, study: Study, *, prompted_by: str = "") -> Job:
        """A job with its complete result, compared with what lies here already."""
        self.folder.prepare()
        header, findings = study.header(), study.findings()
        identity = ResultIdentity(study.acquisition, (str(header.SOPInstanceUID),), f"{study.revision}", "0.1.0")
        job = self._job(study, str(header.SOPInstanceUID), prompted_by)
        known = [earlier_result(pydicom.dcmread(file)) for file in self.root.glob("results/*/*/sr.dcm")]
        comparison = compare(comparable(findings, PatientIdentity.of(header)), known, NEAREST)
        report_of = ResultContext(
            SourceHeader((header,)), identity, Equipment("0.1.0"), findings.created, reference_frame=1
        )
        with ResultFolder(self.folder.results, job.acquisition, job.name).being_made() as draft:
            structured_report(findings, report_of).save_as(draft / "sr.dcm", enforce_file_format=True)
            (draft / "findings.json").write_text(to_json(replace(findings, comparison=comparison)), encoding="utf-8")
        return job

    def comparison(self, job: Job) -> Comparison:
        path = ResultFolder(self.folder.results, job.acquisition, job.name).path
        return from_json((path / "findings.json").read_text(encoding="utf-8")).comparison

    def _job(self, study: Study, uid: str, prompted_by: str) -> Job:
        cine = self.root / "spool" / f"{uid}.dcm"
        cine.write_bytes(b"a cine that nobody reads here")
        name = job_name(study.acquisition, (uid,), f"settings {study.revision}{prompted_by}")
        job = Job(
            name=name,
            acquisition=study.acquisition,
            sop_instance_uids=(uid,),
            files=(str(cine),),
            accepted_at=(study.at.replace(tzinfo=UTC) + timedelta(minutes=study.revision)).isoformat(),
            settings_digest=f"settings {study.revision}",
            revision=study.revision,
            patient_key=KEY,
        )
        JobBook(self.folder.jobs).write(job)
        return job
