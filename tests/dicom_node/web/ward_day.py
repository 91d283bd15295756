"""A ward's day on disk: one job in every state that there is, written through the node's own types.

The truth of the scene is `WardDay.expected`: what each job's state is, and words that must stand in its cause.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dbos import DBOSClient
from PIL import Image, ImageDraw

from dicom_node import engine
from dicom_node.acquisition import ArrivalKind, Origin, ReceivedInstance
from dicom_node.config import Settings, load_settings
from dicom_node.data_folder import DataFolder
from dicom_node.jobs import Job, JobBook
from dicom_node.ledger_record import to_json
from dicom_node.results import DeliveryLedger, ObjectDelivery, ResultFolder
from dicom_node.spool import Spool
from processing.limitations import Limitation
from processing.metrics import Estimate, PerfusionMetrics
from reports.findings import (
    Findings,
    Perfusion,
    Quality,
    Quantity,
    RoiFinding,
    RoiPerfusion,
    Software,
    Source,
    SuperResolution,
)
from reports.findings_json import to_json as findings_json

PATIENT_ID, PATIENT_NAME = "MRN-4711-0815", "Musterfrau^Erika"
"""Never on a page: the scene writes them where a careless page could find them."""
OBJECTS = ("sr.dcm", "sc_summary.dcm")
UNREACHABLE = "127.0.0.1:104 cannot be reached: connection refused"
REFUSED = "0x0122: SOP class not supported"
MEASURING, SENDING = timedelta(seconds=17.4), timedelta(seconds=0.6)
CRASH = "MAX_RECOVERY_ATTEMPTS_EXCEEDED"
DESTINATIONS = [
    {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 104},
    {"name": "research", "ae_title": "RESEARCH", "host": "127.0.0.1", "port": 105},
]


@dataclass
class WardDay:
    """The scene. `now` is the moment at which it is looked at."""

    settings: Settings
    now: datetime
    expected: dict[str, tuple[str, str]] = field(default_factory=dict)
    engine_states: dict[str, str] = field(default_factory=dict)
    _count: int = 0

    @property
    def folder(self) -> DataFolder:
        return DataFolder(self.settings.node.data_dir)

    def arrive(self, minutes_ago: float, *, kind: ArrivalKind = ArrivalKind.CINE, duration_s: float = 60.0) -> str:
        """An acknowledged object in the spool; returns its UID."""
        self._count += 1
        uid = f"2.25.1{self._count:05d}"
        spool = Spool(self.folder.spool)
        path = spool.instance_path(uid)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"{PATIENT_ID} {PATIENT_NAME}".encode())
        received_at = self.now - timedelta(minutes=minutes_ago)
        record = ReceivedInstance(
            sop_class_uid="1.2.840.10008.5.1.4.1.1.3.1",
            sop_instance_uid=uid,
            study_instance_uid=f"2.25.2{self._count:05d}",
            series_instance_uid=f"2.25.3{self._count:05d}",
            patient_key=f"{0xA3F1C0DE + 7919 * self._count:08x}" * 4,
            kind=kind,
            origin=Origin.SCANNER,
            peer_ae_title="LOGIQ_ROOM2" if self._count % 2 else "EPIQ_ICU",
            peer_host="10.1.2.3",
            association_id="a-1",
            received_at=received_at,
            transfer_syntax_uid="1.2.840.10008.1.2.4.50",
            path=path,
            frames=round(15 * duration_s) if kind is ArrivalKind.CINE else 1,
            rows=600,
            columns=800,
            acquired_at=(received_at - timedelta(seconds=200)).replace(tzinfo=None, microsecond=0),
            duration_s=duration_s,
            manufacturer="CEUS Node Simulation",
            model="Phantom One",
        )
        path.with_suffix(".json").write_bytes(to_json(record))
        return uid

    def order(self, name: str, minutes_ago: float, **changes: object) -> Job:
        """A job of one cine that arrived just before it."""
        uid = self.arrive(minutes_ago + 0.2)
        job = Job(
            name=name,
            acquisition=hashlib.sha256(name.encode()).hexdigest()[:16],
            sop_instance_uids=(uid,),
            files=("instance.dcm",),
            accepted_at=(self.now - timedelta(minutes=minutes_ago)).isoformat(),
            settings_digest="d" * 64,
        )
        job = replace(job, **changes)
        JobBook(self.folder.jobs).write(job)
        Spool(self.folder.spool).mark_consumed(uid, name)
        return job

    def measure(self, job: Job, *, contrast: bool = True) -> ResultFolder:
        """Give the job a complete result folder."""
        result = ResultFolder(self.folder.results, job.acquisition, job.name)
        with result.being_made() as draft:
            (draft / "findings.json").write_text(findings_json(findings(self.now, contrast=contrast)))
            for name in OBJECTS if contrast else ():
                (draft / name).write_bytes(b"DICM")
            if contrast:
                picture(draft / "sc_summary.png", "time-intensity curve")
                picture(draft / "sc_maps.png", "parametric maps")
        measured_at = datetime.fromisoformat(job.accepted_at) + MEASURING
        for file in result.path.iterdir():
            os.utime(file, (measured_at.timestamp(), measured_at.timestamp()))
        return result

    def deliver(self, result: ResultFolder, destination: str, *, answer: str = "", attempts: int = 1) -> None:
        """Write a ledger: everything sent, or nothing, with the destination's answer."""
        job = JobBook(self.folder.jobs).get(result.job)
        objects = tuple(
            ObjectDelivery(name, f"2.25.9{i}", not answer, attempts, answer or "0x0000: stored")
            for i, name in enumerate(OBJECTS)
        )
        failure = "; ".join(f"{o.file}: {o.status}" for o in objects) if answer == REFUSED else None
        finished_at = None if answer else (datetime.fromisoformat(job.accepted_at) + MEASURING + SENDING).isoformat()
        result.write_ledger(DeliveryLedger(destination, objects, finished_at, failure))

    def write_engine(self) -> None:
        """Make the engine's database with these workflows in it, as a worker and a sender would leave it."""
        engine.launch(self.settings, "analysis", [])
        engine.stop()
        file = engine.engine_file(self.settings)
        assert file is not None
        client = DBOSClient(system_database_url=f"sqlite:///{file}", application_name=engine.APPLICATION)
        for workflow_id in self.engine_states:
            options = {"queue_name": "analysis", "workflow_name": "measure_acquisition", "workflow_id": workflow_id}
            client.enqueue(options, workflow_id)
        client.destroy()
        with closing(sqlite3.connect(file)) as connection, connection:
            for workflow_id, state in self.engine_states.items():
                connection.execute(
                    "UPDATE workflow_status SET status = ? WHERE workflow_uuid = ?", (state, workflow_id)
                )


def ward_day(folder: Path, port: int = 11112, web_port: int = 8042, now: datetime | None = None) -> WardDay:
    """Build the scene under `folder`."""
    settings = load_settings(
        None, node={"data_dir": folder, "port": port}, web={"port": web_port}, destination=DESTINATIONS
    )
    DataFolder(folder).prepare()
    day = WardDay(settings, now or datetime.now(UTC))
    _finished_jobs(day)
    _unfinished_jobs(day)
    day.arrive(0.1)
    day.arrive(0.1, kind=ArrivalKind.STILL)
    day.write_engine()
    return day


def _finished_jobs(day: WardDay) -> None:
    sent = day.measure(day.order("delivered00000000001", 55.0))
    for name in ("pacs", "research"):
        day.deliver(sent, name)
    day.expected["delivered00000000001"] = ("delivered", "")

    day.measure(day.order("nocontrast0000000002", 48.0), contrast=False)
    day.expected["nocontrast0000000002"] = ("measured", "brightness rises by 0.4 dB")

    day.order("unreadable0000000003", 41.0, failure="the file ends in the middle of frame 17: it was cut off")
    day.expected["unreadable0000000003"] = ("failed", "frame 17")

    refused = day.measure(day.order("refused0000000000004", 33.0))
    day.deliver(refused, "pacs", answer=REFUSED)
    day.deliver(refused, "research")
    day.expected["refused0000000000004"] = ("failed", "pacs: sr.dcm: 0x0122")

    first = day.measure(day.order("first000000000000005", 26.0, acquisition="5a5a0000"))
    second = day.measure(
        day.order(
            "second00000000000006", 25.0, acquisition="5a5a0000", revision=2, reason="settings or profile changed"
        )
    )
    for name in ("pacs", "research"):
        day.deliver(first, name)
        day.deliver(second, name)
    day.expected |= {"first000000000000005": ("delivered", ""), "second00000000000006": ("delivered", "")}


def _unfinished_jobs(day: WardDay) -> None:
    trying = day.measure(day.order("trying00000000000007", 12.0))
    day.deliver(trying, "pacs", answer=UNREACHABLE, attempts=9)
    day.deliver(trying, "research")
    day.expected["trying00000000000007"] = ("delivering", "connection refused (tried 9 times")

    for name, minutes_ago, engine_state, state, words in (
        ("crashing000000000008", 9.0, CRASH, "failed", "set aside"),
        ("running0000000000009", 0.6, "PENDING", "measuring", ""),
        ("queued00000000000010", 0.3, "ENQUEUED", "waiting", ""),
    ):
        job = day.order(name, minutes_ago)
        day.engine_states[job.workflow_id] = engine_state
        day.expected[name] = (state, words)


def findings(now: datetime, *, contrast: bool) -> Findings:
    """Findings of a bolus, or of a cine without contrast."""
    metrics = {
        label: RoiPerfusion(
            PerfusionMetrics(
                model="log-normal",
                r2=0.97,
                peak_enhancement_au=Estimate(peak, 0.93 * peak, 1.07 * peak),
                time_to_peak_s=Estimate(14.2, 13.6, 14.8),
                rise_time_s=Estimate(8.1, 7.7, 8.6),
                wash_in_rate_au_per_s=Estimate(peak / 8.1),
                auc_au_s=Estimate(peak * 32.0),
                quality_of_fit_percent=Estimate(97.0),
            )
        )
        for label, peak in (("lesion", 0.0412), ("reference", 0.0198))
    }
    reason = "enhancement of 21 dB between 9 s and 14 s" if contrast else "brightness rises by 0.4 dB, less than 3 dB"
    perfusion = Perfusion(metrics, {"PE": Quantity(2.08, "{ratio}", 1.9, 2.3)}, {"TTP": Quantity(-1.4, "s")})
    return Findings(
        software=Software("CEUS Node", "0.1.0", "d" * 64, "room2", "p" * 64),
        created=now,
        source=Source(
            patient_key="a3f1c0de" * 4,
            study_instance_uid="2.25.2",
            series_instance_uid="2.25.3",
            sop_instance_uids=("2.25.1",),
            frames=900,
            duration_s=60.0,
            frame_rate_hz=15.0,
            contrast_panel=None,
            pixel_spacing_mm=None,
            compression="log",
            dynamic_range_db=60.0,
            dynamic_range_source="default",
        ),
        quality=Quality(
            contrast_found=contrast,
            contrast_reason=reason,
            saturated_fraction=0.012,
            motion_mm_p95=1.8,
            limitations=(
                Limitation("roi_saturated", "1.2 % of the lesion's pixels are saturated", "note", ("PE",)),
                Limitation(
                    "default_dynamic_range",
                    "the dynamic range is not known: 60 dB was assumed, so amplitudes are not comparable",
                    "degraded",
                    ("PE", "WiR", "AUC"),
                ),
                Limitation("no_calibration", "no pixel spacing: areas and speeds are refused", "refused", ("area",)),
            ),
        ),
        rois=tuple(
            RoiFinding(label, 1, "file", True, None, f"2.25.8{i}", ((0.0, 0.0), (9.0, 0.0), (9.0, 9.0)))
            for i, label in enumerate(("lesion", "reference") if contrast else ())
        ),
        perfusion=perfusion if contrast else Perfusion(),
        super_resolution=SuperResolution(performed=False, reason="the pixels are not calibrated in mm"),
    )


def picture(path: Path, caption: str) -> None:
    """A stand-in for a result picture: dark, with a curve."""
    image = Image.new("RGB", (1024, 768), (14, 17, 20))
    draw = ImageDraw.Draw(image)
    curve = [
        (x, 640 - 480 * max(0.0, (x - 150) / 120) * 2.718 ** (1 - max(0.0, (x - 150) / 120))) for x in range(90, 980)
    ]
    draw.line(curve, fill=(242, 184, 114), width=4)
    draw.line([(90, 90), (90, 650), (980, 650)], fill=(120, 130, 140), width=2)
    draw.text((100, 40), f"{caption} - Research use only", fill=(200, 205, 210))
    image.save(path)
