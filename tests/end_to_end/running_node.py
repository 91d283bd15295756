"""A whole node as a user runs it, for the scenes of this folder: real processes, real associations."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pydicom

from tests.peers import Orthanc, echoscu, free_ports, storescu, tied

START_LIMIT_S = 180.0  # a hanging start; two cores shared with another test worker, compiling kernels: 20 s were seen
FINISH_LIMIT_S = 400.0  # a hanging node; numeric children give way to everything else (nice 19), so load stretches this


def until(condition: Callable[[], Any], limit_s: float, what: str) -> Any:
    """The first true answer of `condition`; what is outside of this process can only be asked, not awaited."""
    deadline_s = time.monotonic() + limit_s
    while not (answer := condition()):
        if time.monotonic() > deadline_s:
            raise AssertionError(f"after {limit_s:.0f} s still not: {what}")
        time.sleep(0.1)
    return answer


@dataclass
class RunningNode:
    """`with RunningNode(tmp_path, destinations=...)`: started and ended by the block.

    `scanner`, `destination`: further keys of their tables. `role_alone` starts one role instead of all; `web` starts
    the pages too. It ends with the test run, even where that is killed.
    """

    folder: Path
    destinations: dict[str, tuple[str, int]] = field(default_factory=dict)
    extra: str = ""
    port: int = 0
    log_format: str = "auto"
    role_alone: str = ""
    scanner: str = ""
    destination: str = ""
    web: bool = False
    _process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port, self.web_port = free_ports(2)
        self.configure(self.extra)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def config(self) -> Path:
        return self.folder / "ceus-node.toml"

    def configure(self, extra: str) -> None:
        """Write the configuration; `extra` is TOML."""
        lines = [f'[node]\nport = {self.port}\ndata_dir = "data"', f"[web]\nport = {self.web_port}"]
        if not self.web:  # one process less to start: the pages have scenes of their own
            lines.append("enabled = false")
        lines.append(f'[[scanner]]\nae_title = "SCANNER"\n{self.scanner}')
        for name, (title, port) in self.destinations.items():
            lines.append(f'[[destination]]\nname = "{name}"\nae_title = "{title}"\nhost = "127.0.0.1"\nport = {port}')
            lines.append(self.destination)
        self.config.write_text("\n".join([*lines, extra]), encoding="utf-8")

    def __enter__(self) -> RunningNode:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        log = (self.folder / "node.log").open("ab")
        command = [sys.executable, "-m", "dicom_node", "run", "--config", str(self.config)]
        command[4:4] = [self.role_alone] if self.role_alone else []
        self._process = subprocess.Popen(
            tied(command),
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=Path(__file__).parents[2],
            env=dict(os.environ) | {"CEUS_NODE_LOG__FORMAT": self.log_format},
        )
        log.close()
        try:
            until(
                lambda: echoscu(self.port, calling="SCANNER").returncode == 0, START_LIMIT_S, "the node answers C-ECHO"
            )
        except BaseException:  # the block is not entered, so its end does not come
            self.stop()
            raise

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(30)

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        assert self._process is not None
        return self._process.poll()

    def processes(self) -> list[psutil.Process]:
        """The supervisor and everything below it."""
        assert self._process is not None
        supervisor = psutil.Process(self._process.pid)
        return [supervisor, *supervisor.children(recursive=True)]

    def role(self, name: str) -> psutil.Process:
        """The process of one role."""
        assert self._process is not None

        def find() -> psutil.Process | None:
            for child in psutil.Process(self._process.pid).children():
                if f"run {name}" in " ".join(child.cmdline()):
                    return child
            return None

        found = until(find, START_LIMIT_S, f"the {name} runs")
        assert isinstance(found, psutil.Process)
        return found

    def scan(self, *paths: Path) -> None:
        """Send files as the scanner does, over one association; the node must answer success to each."""
        sent = storescu(paths, self.port, called="CEUS_NODE", calling="SCANNER", options=("-xy",))  # JPEG baseline
        assert sent.returncode == 0, sent.stderr + sent.stdout

    def kill(self, name: str) -> None:
        """kill -9 of one role; the supervisor starts it again."""
        process = self.role(name)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(10)

    def results(self) -> list[Path]:
        """Folders of complete results."""
        return sorted(
            file.parent for file in self.data.glob("results/*/*/findings.json") if not file.parent.name.startswith(".")
        )

    def findings(self) -> list[dict[str, Any]]:
        return [json.loads((folder / "findings.json").read_text()) for folder in self.results()]

    def wait_for_results(self, count: int, limit_s: float = FINISH_LIMIT_S) -> list[Path]:
        found = until(lambda: r if len(r := self.results()) >= count else None, limit_s, f"{count} results")
        assert isinstance(found, list)
        return found

    def wait_for_delivery(self, pacs: Orthanc, results: int) -> set[str]:
        """SOP Instance UIDs in the PACS once so many results exist and every report and picture of them arrived."""
        made = self.wait_for_results(results)
        wanted = {
            str(pydicom.dcmread(file, specific_tags=["SOPInstanceUID"]).SOPInstanceUID)
            for folder in made
            for file in (*folder.glob("sr*.dcm"), *folder.glob("sc*.dcm"))
        }

        def there() -> set[str] | None:
            held = {item["SOPInstanceUID"] for item in pacs.instances()}
            return held if wanted <= held else None

        held = until(there, FINISH_LIMIT_S, f"{len(wanted)} objects in the PACS")
        assert isinstance(held, set)
        return held

    def log(self) -> str:
        return (self.folder / "node.log").read_text(errors="replace")

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `ceus-node` with this node's configuration."""
        return subprocess.run(
            [sys.executable, "-m", "dicom_node", *arguments, "--config", str(self.config)],
            capture_output=True,
            text=True,
            check=False,
            timeout=FINISH_LIMIT_S,
            cwd=Path(__file__).parents[2],
        )
