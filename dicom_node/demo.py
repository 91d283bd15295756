"""`ceus-node demo`: scanner, node and PACS on loopback, from an empty folder to a report in the PACS.

The node is the real one, started as a user starts it (`ceus-node run`); only the scanner and the PACS are small.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pydicom
import pydicom.examples
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dicom_node.config import ObjectKind
from dicom_node.demo_pacs import AE_TITLE as PACS_TITLE
from dicom_node.demo_pacs import DemoPacs
from dicom_node.errors import NodeError
from dicom_node.results import ResultFolder, all_results
from dicom_node.sending import echo
from dicom_node.simulated_scanner import MANUFACTURER, MODEL, CineIdentity, ScannerAssociation, play_scanner, write_cine
from dicom_node.transport.requestor import RemoteNode
from processing.simulation.flow_scenes import VESSELS, flow_scene
from processing.simulation.scenes import DEMO_BOLUS, bolus_scene

START_S = 60.0
FINISH_S = 300.0
DELIVERED: tuple[ObjectKind, ...] = ("sr", "sc", "seg")

CONFIGURATION = """\
# Written by `ceus-node demo`: a whole node on loopback.
[node]
port = {node_port}
data_dir = "node"

[[scanner]]
ae_title = "SIMSCANNER"

[[destination]]
name = "demo-pacs"
ae_title = "{pacs_title}"
host = "127.0.0.1"
port = {pacs_port}
objects = ["sr", "sc", "seg"]

[profile.simulated]
manufacturer = "{manufacturer}"
model = "{model}"
dynamic_range_db = 50.0

[report]
non_contrast = true

[web]
port = {web_port}
"""


class DemoError(NodeError):
    """The demo did not come to its end; the sentence says where it stopped."""


@dataclass(frozen=True)
class Demo:
    """One demo's folder and ports."""

    out: Path
    node_port: int
    pacs_port: int
    web_port: int

    @property
    def results(self) -> Path:
        return self.out / "node" / "results"


def run_demo(out: Path, *, once: bool, console: Console) -> None:
    """Play the whole way. Raises DemoError where a part does not come up or objects do not arrive in time."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    demo = Demo(out.resolve(), *_free_ports(3))
    began_s = time.monotonic()
    with ExitStack() as stack:
        pacs = DemoPacs(demo.out / "pacs", demo.pacs_port)
        stack.callback(pacs.close)
        stack.enter_context(_node(demo))
        with console.status("simulating a bolus (60 s of 800x600 at 15 Hz) and single bubbles (23 s at 30 Hz) ..."):
            cines = _cines(demo.out / "scanner")
        _wait_for_node(demo)
        console.print(f"node on port {demo.node_port}, page at http://127.0.0.1:{demo.web_port}/, PACS receiving")
        sent_s = time.monotonic()
        _send(demo, cines, console)
        _wait_for_objects(demo, pacs, len(cines), console)
        _copy_pictures(demo)
        _summary(demo, pacs, console, time.monotonic() - sent_s)
        console.print(f"demo took {time.monotonic() - began_s:.0f} s in all")
        if not once:
            console.print("the node keeps running; end it with Ctrl-C")
            signal.pause()


def _cines(folder: Path) -> list[Path]:
    folder.mkdir()
    real = folder / "real-cine-of-pydicom.dcm"
    shutil.copyfile(pydicom.examples.get_path("ybr_color"), real)
    now = datetime.now(UTC)
    bolus = CineIdentity(now, study="demo")
    bubbles = CineIdentity(now, patient_id="SIM-0002", study="demo of bubbles", instance_number=2)
    return [
        real,
        write_cine(bolus_scene(DEMO_BOLUS), folder, bolus),
        write_cine(flow_scene(VESSELS), folder, bubbles),
    ]


@contextmanager
def _node(demo: Demo) -> Iterator[None]:
    config = demo.out / "ceus-node.toml"
    config.write_text(
        CONFIGURATION.format(
            node_port=demo.node_port,
            pacs_port=demo.pacs_port,
            web_port=demo.web_port,
            pacs_title=PACS_TITLE,
            manufacturer=MANUFACTURER,
            model=MODEL,
        ),
        encoding="utf-8",
    )
    with (demo.out / "node.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "dicom_node", "run", "--config", str(config)],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "CEUS_NODE_LOG__FORMAT": "json"},
        )
        try:
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def _wait_for_node(demo: Demo) -> None:
    remote = RemoteNode("CEUS_NODE", "127.0.0.1", demo.node_port)
    deadline_s = time.monotonic() + START_S
    while not echo(remote, "SIMSCANNER").delivered:
        if time.monotonic() > deadline_s:
            raise DemoError(f"the node does not answer a C-ECHO; its log is {demo.out / 'node.log'}")
        time.sleep(0.1)


def _send(demo: Demo, cines: list[Path], console: Console) -> None:
    statuses = play_scanner(cines, ScannerAssociation("127.0.0.1", demo.node_port))
    if any(statuses):
        raise DemoError(f"the node answered {[f'0x{status:04X}' for status in statuses]} to the scanner")
    size_mb = sum(cine.stat().st_size for cine in cines) / 1e6
    console.print(f"the scanner sent {len(cines)} cines ({size_mb:.0f} MB) in one association")


def _wait_for_objects(demo: Demo, pacs: DemoPacs, cines: int, console: Console) -> None:
    """Wait until every cine has its result, and the PACS every report and picture of them."""
    deadline_s = time.monotonic() + FINISH_S
    with console.status("measuring ...") as status, pacs.changed:
        while True:
            results = all_results(demo.results)
            wanted = {_uid(file) for result in results for file in result.objects(DELIVERED)}
            if len(results) == cines and wanted <= set(pacs.received):
                return
            if time.monotonic() > deadline_s:
                raise DemoError(f"not everything reached the PACS in {FINISH_S:.0f} s; see {demo.out / 'node.log'}")
            status.update(f"{len(results)} of {cines} cines measured, {len(pacs.received)} objects in the PACS ...")
            pacs.changed.wait(0.5)


def _copy_pictures(demo: Demo) -> None:
    """Give the pictures names that a person can tell apart."""
    for result in all_results(demo.results):
        findings = result.findings()
        kind = "contrast" if findings["quality"]["contrast_found"] else "no-contrast"
        kind = "vessels" if findings["super_resolution"]["performed"] else kind
        for picture in sorted(result.path.glob("sc_*.png")):
            shutil.copyfile(picture, demo.out / f"{kind}-{picture.name}")


def _summary(demo: Demo, pacs: DemoPacs, console: Console, seconds: float) -> None:
    table = Table("cine", "what was found", "in the PACS", title="What arrived")
    for result in sorted(all_results(demo.results), key=lambda folder: folder.findings()["source"]["frames"]):
        findings = result.findings()
        source = findings["source"]
        cine = f"{source['frames']} frames, {source['duration_s'] or 0:.1f} s"
        table.add_row(cine, escape("\n".join(_found(findings))), ", ".join(_kinds(result, pacs)))
    console.print(table)
    console.print(f"from the scanner's first byte to the last object in the PACS: {seconds:.1f} s")
    console.print(f"DICOM objects: {demo.out / 'pacs'}; pictures: {demo.out}/*.png; node: {demo.out / 'node'}")


def _found(findings: dict[str, object]) -> list[str]:
    quality, perfusion, vessels = (findings[name] for name in ("quality", "perfusion", "super_resolution"))
    assert isinstance(quality, dict)  # noqa: S101  # the schema of our own file
    assert isinstance(perfusion, dict)  # noqa: S101
    assert isinstance(vessels, dict)  # noqa: S101
    if not quality["contrast_found"]:
        return [str(quality["contrast_reason"])]
    lines = list(_vessel_lines(vessels))
    for label in ("lesion", "reference", "panel"):
        for name in ("PE", "TTP", "RT", "mTT"):
            value = perfusion.get(label, {}).get(name) or {}
            if value.get("value") is not None:
                lines.append(f"{label} {name} = {value['value']:.4g} {value['unit']}")
    return lines or ["no value; the limitations say why"]


def _vessel_lines(found: dict[str, Any]) -> Iterator[str]:
    if not found["performed"]:
        return
    yield f"{found['tracks']} tracks of bubbles in {found['interval_s']:.1f} s"
    figures = (
        ("perfusion density", found["perfusion_density"]["by_threshold"]["area_percent"]),
        ("flow speed, mean", found["speed_mm_s"]["mean"]),
        ("resolution (FRC)", found["frc_resolution_um"]),
    )
    for name, figure in figures:
        if figure is not None and figure["value"] is not None:
            yield f"{name} = {figure['value']:.3g} {figure['unit']}"


def _kinds(result: ResultFolder, pacs: DemoPacs) -> list[str]:
    return [file.stem for file in result.objects(DELIVERED) if _uid(file) in pacs.received]


def _uid(file: Path) -> str:
    return str(pydicom.dcmread(file, specific_tags=["SOPInstanceUID"]).SOPInstanceUID)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
