"""Receiving and sending beside DCMTK and Orthanc, in the same run: MB/s, objects/s, memory, latency, as ratios.

Each figure is the best of a few runs that alternate between us and the peer, so that a busy machine hurts both alike.
Goals are those of node.md 7; a line that falls short of its goal says so.
"""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import trustme

from dicom_node.inbox import SpoolLimits
from dicom_node.receiver import ReceiverSettings, serve_receiver
from dicom_node.sending import send_files
from dicom_node.spool import Spool
from dicom_node.transport.requestor import RemoteNode
from tests.dicom_node.network_scenes import Scene
from tests.dicom_node.raw_peer import VERIFICATION, RawPeer
from tests.dicom_node.receiver_process import ReceiverProcess
from tests.peers import LOOPBACK, Orthanc, echoscu, find_peer, free_ports

RUNS = 4
LARGE_MB, LARGE_COUNT = 92, 4
FAST = {**os.environ, "TCP_NODELAY": "1"}


def main() -> None:
    """Print the table; names of parts as arguments print only these."""
    # Speed is measured without a disk where there is one in memory; the disk has its own line.
    memory = Path("/dev/shm") if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=memory) as name:
        folder = Path(name)
        large = [scene(number, LARGE_MB * 1e6).file(folder / "large") for number in range(LARGE_COUNT)]
        middle = [scene(100 + number, 10.9e6).file(folder / "middle") for number in range(16)]
        small = [scene(1000 + number, 0.5e6).file(folder / "small") for number in range(400)]
        parts = {
            "receiving": lambda: receiving(folder, large, middle, small),
            "sharing": lambda: sharing_a_port(folder, middle),
            "tls": lambda: over_tls(folder, large),
            "memory": lambda: memory_and_latency(folder, large),
            "sending": lambda: sending(folder, large, small),
        }
        for part in sys.argv[1:] or parts:
            if part in parts:
                parts[part]()
    if not sys.argv[1:] or "durability" in sys.argv[1:]:
        durability()


def scene(number: int, size: float) -> Scene:
    """A ten-frame cine of about so many bytes."""
    return Scene(number, frames=10, size=int((size / 10) ** 0.5))


def tell(what: str, ours: float, peers: float, unit: str, goal: float | None = None, than: str = "") -> None:
    """One line: our figure, the peer's, the ratio, and whether the goal is met."""
    ratio = ours / peers if peers else float("nan")
    verdict = "" if goal is None else f"  goal {goal:g}x: {'met' if ratio >= goal else 'FALLS SHORT'}"
    print(f"{what:52s} {ours:8.1f} {unit:10s} {than} {peers:8.1f}  {ratio:5.2f}x{verdict}")


def tell_limit(what: str, ours: float, unit: str, limit: float, at_most: bool) -> None:
    """One line against a fixed goal."""
    verdict = "met" if (ours <= limit if at_most else ours >= limit) else "FALLS SHORT"
    sign = "<=" if at_most else ">="
    print(f"{what:52s} {ours:8.1f} {unit:10s} goal {sign} {limit:g}: {verdict}")


def storescu(port: int, files: list[Path], count: int, *options: str) -> float:
    """Seconds that `count` DCMTK senders need to send their shares at the same time."""
    command = [find_peer("storescu"), "-aec", "ANY", *options, LOOPBACK, str(port)]
    shares = [files[number::count] for number in range(count)]
    begin = time.perf_counter()
    senders = [subprocess.Popen([*command, *map(str, share)], env=FAST) for share in shares]
    if any(sender.wait() for sender in senders):
        raise RuntimeError("a sender failed")
    return time.perf_counter() - begin


@contextmanager
def storescp(folder: Path, *options: str, echo: bool = True) -> Iterator[int]:
    """DCMTK's receiver; its port. Without `echo` it is only waited for until it listens (it wants TLS)."""
    (port,) = free_ports(1)
    folder.mkdir(parents=True, exist_ok=True)
    command = [find_peer("storescp"), *options, "-od", str(folder), "+uf", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while echo and echoscu(port, called="ANY").returncode != 0:
            time.sleep(0.05)
        while not echo and not listens(port):
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait()


def listens(port: int) -> bool:
    """Whether anybody takes a connection there."""
    with socket.socket() as trial:
        return trial.connect_ex((LOOPBACK, port)) == 0


def emptied(*folders: Path) -> None:
    """Clear what a run left, so that nothing is a duplicate and memory does not fill up."""
    for folder in folders:
        for path in folder.iterdir() if folder.is_dir() else ():
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def side_by_side(
    ours: Callable[[], float], peers: Callable[[], float], clean: Callable[[], None]
) -> tuple[float, float]:
    """Best seconds of both, in turns."""
    best = [float("inf"), float("inf")]
    for _ in range(RUNS):
        for index, run in enumerate((ours, peers)):
            best[index] = min(best[index], run())
            clean()
    return best[0], best[1]


def receiving(folder: Path, large: list[Path], middle: list[Path], small: list[Path]) -> None:
    """MB/s and objects/s beside storescp +B (bit-preserving, a process an association) and Orthanc."""
    spool, theirs = folder / "spool", folder / "storescp"

    def clean() -> None:
        emptied(spool / "instances", spool / "series", theirs)

    cases = [
        ("1 association, 92 MB objects, 128 KB PDU", large, 1, (), 0.85),
        ("1 association, 92 MB objects, 16 KB PDU", large, 1, ("--max-send-pdu", "16384"), 0.9),
        ("4 associations, 92 MB objects", large, 4, (), 0.75),
        ("16 associations, 10.9 MB objects", middle, 16, (), 0.55),
    ]
    with ReceiverProcess(spool) as node, storescp(theirs, "--fork", "+B", "+xa", "-pdu", "131072") as port:
        for what, files, count, options, goal in cases:
            size = sum(path.stat().st_size for path in files) / 1e6
            ours, peers = side_by_side(
                lambda f=files, c=count, o=options: storescu(node.port, f, c, *o),  # type: ignore[misc]
                lambda f=files, c=count, o=options: storescu(port, f, c, *o),  # type: ignore[misc]
                clean,
            )
            tell(f"receive {what}", size / ours, size / peers, "MB/s", goal, "storescp +B")
        ours, peers = side_by_side(lambda: storescu(node.port, small, 1), lambda: storescu(port, small, 1), clean)
        tell("receive 0.5 MB objects", len(small) / ours, len(small) / peers, "objects/s", None, "storescp +B")
        tell_limit("  of these", len(small) / ours, "objects/s", 250, at_most=False)
        with Orthanc(folder) as pacs:
            ours, peers = side_by_side(
                lambda: storescu(node.port, large, 1),
                lambda: storescu(pacs.dicom_port, large, 1, "-aec", pacs.ae_title) if not emptied_pacs(pacs) else 0.0,
                clean,
            )
            size = sum(path.stat().st_size for path in large) / 1e6
            tell("receive 1 association, 92 MB objects", size / ours, size / peers, "MB/s", 4.0, "Orthanc")


def emptied_pacs(pacs: Orthanc) -> None:
    """Make Orthanc forget everything: it does not store an object twice."""
    for identifier in pacs.rest("/patients"):
        pacs.rest(f"/patients/{identifier}", method="DELETE")


def sharing_a_port(folder: Path, middle: list[Path]) -> None:
    """16 associations to two receivers on one port (SO_REUSEPORT): the way past one process's interpreter lock."""
    spool, theirs = folder / "spool", folder / "storescp"
    size = sum(path.stat().st_size for path in middle) / 1e6
    peer = storescp(theirs, "--fork", "+B", "+xa", "-pdu", "131072")
    with ReceiverProcess(spool) as one, ReceiverProcess(spool, port=one.port), peer as port:
        ours, peers = side_by_side(
            lambda: storescu(one.port, middle, 16),
            lambda: storescu(port, middle, 16),
            lambda: emptied(spool / "instances", spool / "series", theirs),
        )
    tell("receive 16 associations, two receivers on one port", size / ours, size / peers, "MB/s", 0.6, "storescp +B")


def over_tls(folder: Path, large: list[Path]) -> None:
    """92 MB objects over TLS, beside storescp +tls: one receiver in this process, the sender in its own."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    paper = authority.issue_cert(LOOPBACK)
    paper.private_key_pem.write_to_path(folder / "key.pem")
    paper.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    paper.configure_cert(context)
    spool, theirs = Spool(folder / "tls"), folder / "storescp"
    size = sum(path.stat().st_size for path in large) / 1e6
    limits = SpoolLimits(reserve_bytes=0)
    with serve_receiver(
        ReceiverSettings(port=0, any_peer_is_scanner=True, ssl_context=context, limits=limits), spool
    ) as r:
        papers = (str(folder / "key.pem"), str(folder / "cert.pem"))
        trusting = ("+tls", *papers, "+cf", str(folder / "ca.pem"))
        with storescp(theirs, "+B", "-pdu", "131072", *trusting, echo=False) as port:
            ours, peers = side_by_side(
                lambda: storescu(r.port, large, 1, *trusting),
                lambda: storescu(port, large, 1, *trusting),
                lambda: emptied(spool.root / "instances", spool.root / "series", theirs),
            )
    tell("receive 92 MB objects over TLS", size / ours, size / peers, "MB/s", None, "storescp +tls")


def memory_and_latency(folder: Path, large: list[Path]) -> None:
    """Growth of the resident set, and what a small exchange costs."""
    emptied(folder / "spool" / "instances", folder / "spool" / "series")
    with ReceiverProcess(folder / "spool") as node:
        echoscu(node.port)
        idle = node.peak_rss_bytes()
        storescu(node.port, large, 4)
        tell_limit(
            "memory for 4 associations at once", (node.peak_rss_bytes() - idle) / 4e6, "MB each", 5, at_most=True
        )
        tell_limit("associate and release, median", statistics.median(exchanges(node.port, 200)), "ms", 5, at_most=True)
        burners = [
            subprocess.Popen(["nice", "-n", "19", sys.executable, "-c", "while True: pass"])
            for _ in range(os.cpu_count() or 1)
        ]
        try:
            p99 = statistics.quantiles(exchanges(node.port, 300), n=100)[98]
            tell_limit("the same with all cores busy (nice 19), p99", p99, "ms", 100, at_most=True)
        finally:
            for burner in burners:
                burner.kill()
                burner.wait()


def exchanges(port: int, count: int) -> list[float]:
    """Milliseconds of an association each, opened and released."""
    times = []
    for _ in range(count):
        begin = time.perf_counter()
        with RawPeer(port) as peer:
            peer.associate(VERIFICATION).release()
        times.append((time.perf_counter() - begin) * 1e3)
    return times


def sending(folder: Path, large: list[Path], small: list[Path]) -> None:
    """Files to DCMTK as it comes (Nagle on, 16 KB PDUs) beside DCMTK's own sender, and to Orthanc."""

    def send(port: int, files: list[Path], title: str = "ANY") -> float:
        begin = time.perf_counter()
        outcomes = [outcome for _, outcome in send_files(RemoteNode(title, LOOPBACK, port), "CEUS_NODE", files)]
        if not all(outcome.delivered for outcome in outcomes):
            raise RuntimeError(str(next(outcome for outcome in outcomes if not outcome.delivered)))
        return time.perf_counter() - begin

    tiny = [Scene(5000, frames=1, size=32).file(folder / "tiny")]
    with storescp(folder / "sink", "--ignore", "-pdu", "131072") as port:
        ours, peers = side_by_side(lambda: send(port, large), lambda: storescu(port, large, 1), lambda: None)
        size = sum(path.stat().st_size for path in large) / 1e6
        tell("send 92 MB objects", size / ours, size / peers, "MB/s", 0.65, "storescu   ")
    with storescp(folder / "sink", "--ignore") as port:
        count = 2000
        tell_limit(
            "send small objects to default DCMTK", count / send(port, tiny * count), "objects/s", 300, at_most=False
        )
    with Orthanc(folder, tcp_nodelay=False) as pacs:
        times = [send(pacs.dicom_port, [path], pacs.ae_title) * 1e3 for path in small[:40]]
        tell_limit(
            "send one 0.5 MB object to Orthanc, with its association", statistics.median(times), "ms", 15, at_most=True
        )
        pairs = [
            (small[n], small[n + 1]) for n in range(40, 120, 2)
        ]  # a report and a picture, as a delivery sends them
        times = [send(pacs.dicom_port, list(pair), pacs.ae_title) * 1e3 / 2 for pair in pairs]
        tell_limit("send two objects on one association, each", statistics.median(times), "ms", 15, at_most=True)


def durability() -> None:
    """What fsync costs, on the disk that holds temporary files, beside the same disk without it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = [scene(number, LARGE_MB * 1e6).file(folder / "large") for number in range(2)]
        small = [scene(100 + number, 0.5e6).file(folder / "small") for number in range(60)]

        def clean() -> None:
            for spool in ("safe", "fast"):
                emptied(folder / spool / "instances", folder / spool / "series")

        with ReceiverProcess(folder / "safe") as safe, ReceiverProcess(folder / "fast", durable=False) as fast:
            for what, some, goal in (("92 MB", files, 0.6), ("0.5 MB", small, None)):
                ours, peers = side_by_side(
                    lambda s=some: storescu(safe.port, s, 1),  # type: ignore[misc]
                    lambda s=some: storescu(fast.port, s, 1),  # type: ignore[misc]
                    clean,
                )
                size = sum(path.stat().st_size for path in some) / 1e6
                tell(
                    f"on disk, {what} objects, fsync before success",
                    size / ours,
                    size / peers,
                    "MB/s",
                    goal,
                    "no fsync   ",
                )
        print(f"{'the disk alone: 0.5 MB written and fsynced':52s} {disk_rate(folder):8.1f} files/s")


def disk_rate(folder: Path) -> float:
    """Files of 0.5 MB a second that the disk makes durable, name included."""
    data, count = os.urandom(500_000), 40
    begin = time.perf_counter()
    for number in range(count):
        path = folder / f"{number}.bin"
        with path.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        handle = os.open(folder, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)
    return count / (time.perf_counter() - begin)


if __name__ == "__main__":
    main()
