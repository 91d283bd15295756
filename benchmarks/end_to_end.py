"""From the scanner's release to the last object in the PACS, stage by stage, for a 60 s loop of 15 Hz 800x600 JPEG.

The whole node runs as a user runs it, with a real Orthanc behind it; then the same job is measured again in a process
of its own, to see where its time and its memory go. Budget of the finished product (issue A): report and picture
within 30 s, everything within 60 s on two quiet cores, memory below what the job stated. CPU seconds stand beside the
wall's, for they hold on a busy machine too. The node's children have rehearsed, as in a node that runs as a service;
how long that takes after a start is a line of its own.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import tempfile
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import psutil

from dicom_node.config import Settings, load_settings
from dicom_node.simulated_scanner import CineIdentity, write_cine
from processing.simulation.scenes import DEMO_BOLUS, bolus_scene
from tests.end_to_end.running_node import RunningNode, until
from tests.peers import Orthanc

BUDGET_S = 30.0
PROFILE = """
[profile.simulated]
manufacturer = "CEUS Node Simulation"
dynamic_range_db = 50.0
"""
LIMIT_S = 600.0
EVENTS = ("association_ended", "acquisition ready", "job started", "job measured", "delivery")
STAGES = ("quiet time of the exam", "engine: order to start", "measuring", "engine and delivery")


def main() -> None:
    """Print both tables."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cine = write_cine(bolus_scene(DEMO_BOLUS), folder, CineIdentity(datetime.now(UTC), study="benchmark"))
        print(f"one loop: 60 s, 15 Hz, 800x600, dual view, JPEG, {cine.stat().st_size / 1e6:.0f} MB\n")
        whole_node(folder, cine)
        one_process(folder, cine)


def whole_node(folder: Path, cine: Path) -> None:
    """Wall time of each stage, by the node's own log."""
    with Orthanc(folder) as orthanc:
        destinations = {"pacs": (orthanc.ae_title, orthanc.dicom_port)}
        with RunningNode(folder / "node", destinations, PROFILE, log_format="json") as node:
            began_s = time.monotonic()
            until(lambda: "child is warm" in node.log(), LIMIT_S, "the rehearsal of the children")
            warm_s = time.monotonic() - began_s
            idle_mb = sum(_resident_mb(process) for process in node.processes())
            node.scan(cine)
            until(lambda: "delivered" in node.log(), LIMIT_S, "the delivery")
            peaks = {process.pid: _peak_mb(process) for process in node.processes()}
            moments = _moments(node.log())
    print(f"{'once, before: receiving until warm':42s} {warm_s:8.2f} s")
    edges = [moments[event] for event in EVENTS]
    for stage, (begin, end) in zip(STAGES, pairwise(edges), strict=True):
        print(f"{stage:42s} {(end - begin).total_seconds():8.2f} s")
    total_s = (edges[-1] - edges[0]).total_seconds()
    verdict = "met" if total_s <= BUDGET_S else "FALLS SHORT"
    print(f"{'release to the last object stored':42s} {total_s:8.2f} s  budget {BUDGET_S:g}: {verdict}")
    print(f"{'all processes, idle':42s} {idle_mb:8.0f} MB; largest process at its peak {max(peaks.values()):.0f} MB\n")


def one_process(folder: Path, cine: Path) -> None:
    """The job alone, cold and warm, in a process of its own as in a numeric child."""
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    child = context.Process(target=_measure, args=(folder, cine, send))
    child.start()
    send.close()  # so that a child that dies ends the waiting below
    rows, peak_mb, stated_mb = receive.recv()
    child.join()
    print(f"{'in one process':42s} {'first, s':>9s} {'CPU':>7s} {'warm, s':>9s} {'CPU':>7s}")
    for stage, (first_s, first_cpu_s), (warm_s, warm_cpu_s) in rows:
        print(f"{stage:42s} {first_s:9.2f} {first_cpu_s:7.2f} {warm_s:9.2f} {warm_cpu_s:7.2f}")
    verdict = "met" if peak_mb <= stated_mb else "FALLS SHORT"
    print(f"{'peak memory of the job':42s} {peak_mb:8.0f} MB  stated {stated_mb:.0f}: {verdict}")


@dataclass
class _Clock:
    """Takes the time at each change of stage."""

    times: dict[str, tuple[float, float]] = field(default_factory=dict)
    _stage: str = ""
    _wall_s: float = 0.0
    _cpu_s: float = 0.0

    def change(self, stage: str, _share: float = 0.0) -> None:
        now_s, cpu_s = time.perf_counter(), time.process_time()
        if self._stage:
            wall_s, used_s = self.times.get(self._stage, (0.0, 0.0))
            self.times[self._stage] = (wall_s + now_s - self._wall_s, used_s + cpu_s - self._cpu_s)
        self._stage, self._wall_s, self._cpu_s = stage, now_s, cpu_s


def _measure(folder: Path, cine: Path, answer: multiprocessing.connection.Connection) -> None:
    first, warm = _Clock(), _Clock()
    first.change("importing")
    from dicom_node import measuring, measuring_order
    from dicom_node.roi_choice import GivenMasks

    stated_mb = measuring_order.stated_memory_mb([cine])
    config = folder / "one-process.toml"
    config.write_text(PROFILE, encoding="utf-8")
    for clock, out in ((first, folder / "first"), (warm, folder / "warm")):
        order = _order(load_settings(config), cine, out)
        measuring.measure_files(order, out, GivenMasks(), clock.change)
        clock.change("")
    first.times["writing (reports, pictures, tables)"] = first.times.pop("done")
    warm.times["writing (reports, pictures, tables)"] = warm.times.pop("done")
    rows = [(stage, taken, warm.times.get(stage, (0.0, 0.0))) for stage, taken in first.times.items()]
    totals = [tuple(map(sum, zip(*clock.times.values(), strict=True))) for clock in (first, warm)]
    answer.send(([*rows, ("in all", *totals)], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, stated_mb))


def _order(settings: Settings, cine: Path, out: Path) -> object:
    from dicom_node.data_folder import DataFolder
    from dicom_node.jobs import Job
    from dicom_node.measuring_order import MeasuringOrder

    now = datetime.now(UTC).isoformat()
    job = Job("benchmark", "benchmark", ("1.2.3",), (str(cine),), now, "", profile="simulated")
    return MeasuringOrder(settings, DataFolder(out), job)


def _moments(log: str) -> dict[str, datetime]:
    """The last moment of each event in a log of JSON lines."""
    lines = (json.loads(line) for line in log.splitlines() if line.startswith("{"))
    return {line["event"]: datetime.fromisoformat(line["timestamp"]) for line in lines if line["event"] in EVENTS}


def _resident_mb(process: psutil.Process) -> float:
    return float(process.memory_info().rss / 2**20)


def _peak_mb(process: psutil.Process) -> float:
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    return float(status.split("VmHWM:")[1].split()[0]) / 1024
