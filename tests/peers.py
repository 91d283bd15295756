"""Real peers of the tests: DCMTK, dicom3tools, PixelMed, dcmqi, Orthanc, Chromium (Debian packages, `make peers`).

A missing peer is a loud skip on a developer's machine and a failure where CI=true: nothing may pass for being absent.
Everything talks over loopback on free ports and writes to folders the test hands in.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

LOOPBACK = "127.0.0.1"
PLUGIN_FOLDER = Path("/usr/share/orthanc/plugins")
JAVA_FOLDER = Path("/usr/share/java")
START_LIMIT_S = 20.0  # Orthanc answers after 0.1 s on a quiet machine; a loaded 2-core runner was seen to need 4 s


def tied(command: Sequence[str | Path]) -> list[str]:
    """The command, run so that it ends with the test run, however that ends.

    SIGTERM comes when the *thread* that started it ends (prctl(2), PR_SET_PDEATHSIG): start long-lived peers from the
    test's own thread. setpriv(1), for Python must not run between fork and exec while threads do.
    """
    return ["setpriv", "--pdeathsig", "TERM", "--", *map(str, command)]


def find_peer(*names: str) -> str:
    """Path of the first of these programs; skips the test loudly, or fails it where CI=true, when there is none."""
    places = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", str(Path(sys.executable).parent)])
    for name in names:
        if found := shutil.which(name, path=places):
            return found
    return missing_peer(names[0])


def missing_peer(name: str) -> Any:
    """End the test: skipped with the name of what is missing, failed where CI=true."""
    message = f"PEER MISSING: {name} (install it with `make peers`)"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


def free_ports(count: int) -> list[int]:
    """Ports of loopback that were free a moment ago, all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


class Orthanc:
    """A real Orthanc on free loopback ports: `with Orthanc(tmp_path) as pacs: pacs.rest("/instances")`.

    `node_port`: where it finds the node under the AE title `node_ae_title` (to forward, to report commitments).
    `settings` are laid over the configuration of the rig; `tcp_nodelay` False is the slow mode of real PACS.
    The process stays the same across `stop` and `start`: same ports, same folder, as a PACS that was down for a while.
    """

    ae_title = "ORTHANC"

    def __init__(
        self,
        folder: Path,
        *,
        node_port: int | None = None,
        node_ae_title: str = "CEUS_NODE",
        tcp_nodelay: bool = True,
        settings: dict[str, Any] | None = None,
    ) -> None:
        self.folder = folder / "orthanc"
        self.dicom_port, self.http_port = free_ports(2)
        self.node_port = node_port
        self.node_ae_title = node_ae_title
        self.tcp_nodelay = tcp_nodelay
        self.settings = settings or {}
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def dicomweb_url(self) -> str:
        return f"http://{LOOPBACK}:{self.http_port}/dicom-web"

    @property
    def log(self) -> str:
        return (self.folder / "orthanc.log").read_text(errors="replace")

    def __enter__(self) -> Orthanc:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start it and wait until it answers."""
        program = find_peer("Orthanc")
        self.folder.mkdir(parents=True, exist_ok=True)
        configuration = self.folder / "orthanc.json"
        configuration.write_text(json.dumps(self._configuration()))
        environment = dict(os.environ) | ({"TCP_NODELAY": "1"} if self.tcp_nodelay else {})
        with (self.folder / "orthanc.log").open("ab") as log:
            self.process = subprocess.Popen(
                tied([program, str(configuration)]), stdout=log, stderr=log, env=environment
            )
        deadline = time.monotonic() + START_LIMIT_S
        while True:
            if self.process.poll() is not None:
                pytest.fail(f"Orthanc ended while starting:\n{self.log[-2000:]}")
            try:
                self.rest("/system")
                return
            except (urllib.error.URLError, ConnectionError):
                if time.monotonic() > deadline:
                    self.stop()
                    pytest.fail(f"Orthanc did not answer within {START_LIMIT_S:g} s:\n{self.log[-2000:]}")
                time.sleep(0.05)  # nothing announces that it listens; its log is buffered

    def stop(self) -> None:
        """SIGTERM, and wait for its end; what it stored stays in the folder."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(timeout=30)
            self.process = None

    def rest(self, path: str, body: Any = None, method: str | None = None) -> Any:
        """GET (or POST where a body is given) of the REST API; JSON parsed, anything else as bytes."""
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(f"http://{LOOPBACK}:{self.http_port}{path}", data=data, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            content = answer.read()
            return json.loads(content) if "json" in answer.headers.get_content_type() else content

    def instances(self, modality: str | None = None) -> list[dict[str, str]]:
        """Main tags of every stored instance (with `id`, `SOPInstanceUID`, `Modality`, ...), of one modality or all."""
        found = []
        for identifier in self.rest("/instances"):
            tags = self.rest(f"/instances/{identifier}/simplified-tags")
            if modality is None or tags.get("Modality") == modality:
                found.append({"id": identifier, **{k: v for k, v in tags.items() if isinstance(v, str)}})
        return found

    def file(self, identifier: str) -> bytes:
        """The stored DICOM file of an instance, by Orthanc's identifier."""
        content = self.rest(f"/instances/{identifier}/file")
        assert isinstance(content, bytes)
        return content

    def _configuration(self) -> dict[str, Any]:
        plugins = [PLUGIN_FOLDER / f"libOrthanc{name}.so" for name in ("DicomWeb", "WebViewer", "Gdcm")]
        rights = {"AllowStorageCommitment": True, "AllowStore": True, "AllowFind": True, "AllowMove": True}
        node = {"AET": self.node_ae_title, "Host": LOOPBACK, "Port": self.node_port or 1, **rights}
        return {
            "Name": "TESTPACS",
            "StorageDirectory": str(self.folder / "storage"),
            "IndexDirectory": str(self.folder / "storage"),
            "HttpPort": self.http_port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomAet": self.ae_title,
            "DicomPort": self.dicom_port,
            "DicomCheckCalledAet": True,
            **{f"DicomAlwaysAllow{service}": True for service in ("Echo", "Store", "Find", "Move", "Get")},
            "MaximumPduLength": 131072,
            "StableAge": 2,
            "OverwriteInstances": False,
            "StorageCommitmentReportsSize": 100,
            "DicomModalities": {"node": node} if self.node_port else {},
            "Plugins": [str(path) for path in plugins if path.exists()],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
            **self.settings,
        }


def storescu(
    paths: Iterable[Path],
    port: int,
    *,
    called: str = "CEUS_NODE",
    calling: str = "SCANNER",
    options: Sequence[str] = (),
    timeout_s: float = 120.0,
) -> subprocess.CompletedProcess[str]:
    """Send files with DCMTK as they are encoded, one association. The caller looks at `returncode`.

    Without `options`, the transfer syntaxes proposed are those of the files (`-R` proposes only what is needed; DCMTK
    never transcodes compressed pixels by itself): give `-xs`, `-xy`, ... to force one.
    """
    command = [find_peer("storescu"), "-aec", called, "-aet", calling, "-R", *options, LOOPBACK, str(port)]
    environment = dict(os.environ) | {"TCP_NODELAY": "1"}
    arguments = [*command, *(str(path) for path in paths)]
    return subprocess.run(
        arguments, capture_output=True, text=True, timeout=timeout_s, env=environment, check=False, errors="replace"
    )


def echoscu(port: int, *, called: str = "CEUS_NODE", calling: str = "SCANNER") -> subprocess.CompletedProcess[str]:
    """A DICOM ping with DCMTK."""
    command = [find_peer("echoscu"), "-aec", called, "-aet", calling, LOOPBACK, str(port)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


class PostgreSql:
    """A real PostgreSQL cluster of its own on a free loopback port: `with PostgreSql() as database: database.url`.

    It refuses to run as root, and no other user can enter a test's folder, so it lives in a folder of its own.
    """

    def __init__(self) -> None:
        (self.port,) = free_ports(1)
        self._folder = Path(tempfile.mkdtemp(prefix="postgresql-"))

    @property
    def url(self) -> str:
        """As `[database] url` wants it."""
        return f"postgresql+psycopg://postgres@{LOOPBACK}:{self.port}/postgres"

    def __enter__(self) -> PostgreSql:
        if os.geteuid() == 0:
            shutil.chown(self._folder, "postgres")
        cluster = str(self._folder / "cluster")
        self._run("initdb", "-D", cluster, "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C")
        options = f"-p {self.port} -c listen_addresses={LOOPBACK} -c unix_socket_directories="
        self._run("pg_ctl", "-D", cluster, "-w", "-l", str(self._folder / "log"), "-o", options, "start")
        return self

    def __exit__(self, *_: object) -> None:
        self._run("pg_ctl", "-D", str(self._folder / "cluster"), "-w", "-m", "immediate", "stop")
        shutil.rmtree(self._folder)

    def _run(self, program: str, *arguments: str) -> None:
        places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"))
        command = [str(places[-1]) if places else find_peer(program), *arguments]
        as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        done = subprocess.run(
            [*as_user, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self._folder, check=False
        )
        assert done.returncode == 0, f"{program} failed ({done.returncode})"


@contextmanager
def storescp_that_takes(folder: Path, sop_classes: Sequence[str]) -> Iterator[int]:
    """DCMTK's receiver, taking nothing but these classes (by DCMTK's names) and C-ECHO; yields its port."""
    (port,) = free_ports(1)
    contexts = [
        f"PresentationContext{n} = {name}\\Plain" for n, name in enumerate(["VerificationSOPClass", *sop_classes], 1)
    ]
    lines = ["[[TransferSyntaxes]]", "[Plain]", "TransferSyntax1 = LittleEndianExplicit"]
    lines += ["TransferSyntax2 = LittleEndianImplicit", "[[PresentationContexts]]", "[Few]", *contexts]
    lines += ["[[Profiles]]", "[Few]", "PresentationContexts = Few", ""]
    configuration = folder / "storescp.cfg"
    configuration.write_text("\n".join(lines))
    command = [find_peer("storescp"), "-xf", str(configuration), "Few", "-od", str(folder), str(port)]
    process = subprocess.Popen(tied(command), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + START_LIMIT_S
        while echoscu(port).returncode != 0:
            assert process.poll() is None, "storescp ended while starting"
            assert time.monotonic() < deadline, "storescp does not answer"
        yield port
    finally:
        process.terminate()
        process.wait(timeout=30)


def chromium() -> str:
    """Path of a Chromium that can take pictures of pages."""
    return find_peer("chromium", "chromium-browser", "google-chrome")


@dataclass(frozen=True)
class Verdict:
    """What a validator said: its complaints by weight."""

    errors: tuple[str, ...]
    warnings: tuple[str, ...]


def dciodvfy(path: Path) -> Verdict:
    """dicom3tools: does the object follow its IOD?"""
    return _verdict([find_peer("dciodvfy"), "-new", str(path)])


def dcentvfy(paths: Iterable[Path]) -> Verdict:
    """dicom3tools: do the objects of a study agree on patient, study, series and frame of reference?"""
    return _verdict([find_peer("dcentvfy"), *map(str, paths)])


def pixelmed_sr(path: Path) -> Verdict:
    """PixelMed's DicomSRValidator: do IOD and templates of the SR hold? About 14 s of one core."""
    jars = sorted(JAVA_FOLDER.glob("*.jar"))
    if not any(jar.name == "pixelmed.jar" for jar in jars):
        missing_peer("PixelMed (libpixelmed-java)")
    unlimited = [f"-Djdk.xml.xpathExpr{kind}=0" for kind in ("OpLimit", "GrpLimit")]
    options = [*unlimited, "-Djdk.xml.xpathTotalOpLimit=0", "-Djdk.xml.enableExtensionFunctions=true"]
    classpath = os.pathsep.join(map(str, jars))
    validator = "com.pixelmed.validate.DicomSRValidator"
    return _verdict(
        [find_peer("java"), *options, "-Xss512m", "-Xmx4g", "-cp", classpath, validator, str(path)], timeout_s=240
    )


def dump_sr(path: Path) -> str:
    """DCMTK's text of a structured report; the test fails where it cannot read it."""
    done = subprocess.run([find_peer("dsrdump"), str(path)], capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout.decode(errors="replace")


def html_of_sr(path: Path) -> str:
    """DCMTK's HTML of a structured report."""
    done = subprocess.run([find_peer("dsr2html"), str(path)], capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout.decode(errors="replace")


def _verdict(command: Sequence[str], timeout_s: float = 60) -> Verdict:
    done = subprocess.run(command, capture_output=True, check=False, timeout=timeout_s)
    lines = (done.stdout + done.stderr).decode(errors="replace").splitlines()
    return Verdict(
        tuple(line for line in lines if line.lstrip().startswith(("Error", "Abort", "Exception"))),
        tuple(line for line in lines if line.lstrip().startswith("Warning")),
    )


def dcmqi(program: str, *arguments: str) -> str:
    """One of dcmqi's converters (its wheel puts them beside Python); the test fails where it cannot read the object."""
    done = subprocess.run([find_peer(program), *arguments], capture_output=True, check=False, timeout=120)
    said = (done.stdout + done.stderr).decode(errors="replace")
    assert done.returncode == 0, said[-2000:]
    return said
