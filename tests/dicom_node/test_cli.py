"""The command line as a user meets it: a sentence and the contract's exit code for whatever goes wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pydicom
import pytest

from dicom_node import cli, demo_scenes
from dicom_node.simulated_scanner import CineIdentity, write_cine
from processing.simulation.scenes import TINY_BOLUS, bolus_scene
from tests.dicom_node.network_scenes import Scene
from tests.peers import LOOPBACK, Orthanc, find_peer, free_ports, storescp_that_takes

DONE, FAILED, USAGE, REFUSED = 0, 1, 2, 3  # contract.md, Commands


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err


CeusNode = Callable[..., Answer]


@pytest.fixture
def ceus_node(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> CeusNode:
    """The command in this process: arguments in, what it printed and its exit code out."""
    monkeypatch.chdir(tmp_path)
    # Loggers are configured for the life of a process, and this one runs other tests after us.
    monkeypatch.setattr(cli, "configure_logging", lambda *_: None)

    def run(*arguments: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["ceus-node", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return Answer(int(ended.value.code or 0), said.out, said.err)

    return run


def config(folder: Path, text: str) -> Path:
    file = folder / "ceus-node.toml"
    file.write_text(text, encoding="utf-8")
    return file


def noise_cine(folder: Path, **scene: object) -> Path:
    """A small ultrasound cine of noise: readable, and without contrast."""
    path = folder / "noise.dcm"
    Scene(**{"frames": 12, **scene}).dataset().save_as(path, enforce_file_format=True)  # type: ignore[arg-type]
    return path


@pytest.fixture(scope="module")
def contrast_cine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    identity = CineIdentity(datetime(2026, 1, 15, 9, 30, tzinfo=UTC), study="command line")
    return write_cine(bolus_scene(TINY_BOLUS, seed=2), tmp_path_factory.mktemp("cine"), identity)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[node]\nprot = 1", "node.prot"),
        ("[nod]\nport = 1", "nod"),
        ('[node]\nport = "eleven"', "node.port"),
        ("[node]\nport = 70000", "node.port"),
        ('[[scanner]]\nae_title = "A TITLE OF MORE THAN 16"', "scanner.0.ae_title"),
        ('[[destination]]\nname = "pacs"', "destination.0.ae_title"),
        ('[report]\ndisclaimer = ""', "report.disclaimer"),
        ("[node\n", "not valid TOML"),
    ],
)
def test_a_wrong_configuration_is_named_by_its_key(ceus_node: CeusNode, tmp_path: Path, text: str, named: str) -> None:
    answer = ceus_node("status", "--config", config(tmp_path, text))
    assert answer.code == USAGE
    assert named in answer.err


def test_a_configuration_that_is_not_there_is_named(ceus_node: CeusNode, tmp_path: Path) -> None:
    answer = ceus_node("run", "--config", tmp_path / "no-such.toml")
    assert answer.code == USAGE
    assert "no-such.toml" in answer.err


@pytest.mark.parametrize("variable", ["CEUS_NODE_NODE__PROT", "CEUS_NODE_NOED__PORT"])
def test_a_mistyped_variable_is_named(ceus_node: CeusNode, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "1")
    answer = ceus_node("status")
    assert answer.code == USAGE
    assert variable in answer.err


PROFILES = [
    ('[profile.site]\ncompression = "table"', "profile.site.grey_to_db"),
    ('[profile.site]\ncompression = "table"\ngrey_to_db = "none.csv"', "none.csv"),
    ('[profile.site]\ncolour_map = "coper"', "coper"),
    ('[profile.site]\n[[scanner]]\nae_title = "S"\nprofile = "syte"', "[profile.syte]"),
]


@pytest.mark.parametrize(("text", "named"), PROFILES)
def test_a_wrong_profile_ends_before_anything_is_measured(
    ceus_node: CeusNode, tmp_path: Path, text: str, named: str
) -> None:
    answer = ceus_node("process", noise_cine(tmp_path), "--out", tmp_path / "out", "-c", config(tmp_path, text))
    assert answer.code == USAGE
    assert named in answer.err, "square brackets are part of the sentence"
    assert not (tmp_path / "out").exists()
    assert ceus_node("run", "worker", "-c", config(tmp_path, text)).code == USAGE
    checked = ceus_node("check", "-c", config(tmp_path, text))
    assert checked.code == FAILED
    assert named in checked.out


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("run", "receptionist"), "receiver, worker, sender, web"),
        (("process", "missing.dcm", "--out", "out"), "missing.dcm"),
        (("process", "noise.dcm", "--out", "out", "--roi", "mask.png"), "mask.png"),
        (("process", "noise.dcm", "--out", "noise.dcm/out"), "noise.dcm/out"),
        (("simulate", "--out", "noise.dcm/cine.dcm"), "noise.dcm"),
        (("simulate", "--out", "cine.dcm", "--scene", "liver"), "small-bolus"),
        (("send", "noise.dcm", "--to", "pacs"), "pacs"),
        (("demo", "--out", "noise.dcm/demo"), "noise.dcm/demo"),
        (("proces",), "proces"),
    ],
)
def test_bad_usage_is_answered_with_what_was_wrong(
    ceus_node: CeusNode, tmp_path: Path, arguments: tuple[str, ...], named: str
) -> None:
    noise_cine(tmp_path)
    answer = ceus_node(*arguments)
    assert answer.code == USAGE
    assert named in answer.err


@pytest.mark.parametrize("command", ["show", "retry", "cancel"])
def test_an_unknown_job_is_named(ceus_node: CeusNode, command: str) -> None:
    answer = ceus_node("jobs", command, "0123abcd")
    assert answer.code == FAILED
    assert "0123abcd" in answer.err


def test_files_that_are_no_cine_are_refused_one_by_one_with_the_reason(ceus_node: CeusNode, tmp_path: Path) -> None:
    folder = tmp_path / "exam"
    folder.mkdir()
    (folder / "letter.dcm").write_text("dear colleague")
    whole = noise_cine(tmp_path).read_bytes()
    (folder / "cut-in-header.dcm").write_bytes(whole[:300])
    (folder / "cut-in-pixels.dcm").write_bytes(whole[: len(whole) - len(whole) // 3])
    (folder / "empty.dcm").touch()
    bare = pydicom.dcmread(tmp_path / "noise.dcm")
    del bare.PixelData
    bare.save_as(folder / "no-pixels.dcm")
    answer = ceus_node("process", folder, "--out", tmp_path / "out")
    assert answer.code == REFUSED
    for file in folder.iterdir():
        (line,) = [line for line in answer.out.splitlines() if line.startswith(f"not measured {file.name}: ")]
        assert len(line) > len(f"not measured {file.name}: ") + 10, "with a reason"
    assert list((tmp_path / "out").iterdir()) == []


def test_an_empty_folder_says_that_there_was_nothing(ceus_node: CeusNode, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    answer = ceus_node("process", tmp_path / "empty", "--out", tmp_path / "out")
    assert answer.code == REFUSED
    assert "no cine" in answer.text


def test_a_cine_without_contrast_is_refused_and_its_findings_say_why(ceus_node: CeusNode, tmp_path: Path) -> None:
    answer = ceus_node("process", noise_cine(tmp_path), "--out", tmp_path / "out")
    assert answer.code == REFUSED
    assert "no perfusion measured" in answer.out
    findings = json.loads((tmp_path / "out" / "findings.json").read_text())
    assert findings["quality"]["contrast_found"] is False
    assert not list((tmp_path / "out").glob("*.dcm")), "by default no object is made of it"


def test_a_contrast_cine_is_measured_into_its_folder(ceus_node: CeusNode, contrast_cine: Path, tmp_path: Path) -> None:
    answer = ceus_node("process", contrast_cine, "--out", tmp_path / "out")
    assert answer.code == DONE, "limitations alone are no failure"
    assert {"findings.json", "sr.dcm", "tic.csv"} <= {file.name for file in (tmp_path / "out").iterdir()}


def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    # The superuser may write everywhere, unless the capability to do so is taken away.
    without = ["setpriv", "--bounding-set", "-dac_override"] if os.geteuid() == 0 else []
    environment = dict(os.environ) | {"CEUS_NODE_NODE__DATA_DIR": str(locked / "data")}
    command = [*without, sys.executable, "-m", "dicom_node", "run"]
    ended = subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=60, check=False, cwd=Path(__file__).parents[2]
    )
    assert ended.returncode == USAGE
    (sentence,) = ended.stderr.splitlines()
    assert "node.data_dir" in sentence
    assert str(locked / "data") in sentence
    assert "Permission denied" in sentence


def test_the_same_seed_simulates_the_same_file_with_its_truth(
    ceus_node: CeusNode, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(demo_scenes.SCENES, "small-bolus", lambda seed: bolus_scene(TINY_BOLUS, seed))
    for name in ("a", "b"):
        assert ceus_node("simulate", "--out", tmp_path / name / "cine.dcm", "--scene", "small-bolus").code == DONE
    assert (tmp_path / "a/cine.dcm").read_bytes() == (tmp_path / "b/cine.dcm").read_bytes()
    truth = json.loads((tmp_path / "a/cine.truth.json").read_text())
    assert truth["lesion"]["peak_enhancement_au"] > 0


def destination(port: int, title: str, objects: str = '["sr", "sc"]') -> str:
    lines = f'[[destination]]\nname = "pacs"\nae_title = "{title}"\nhost = "{LOOPBACK}"\nport = {port}\n'
    return f'[[scanner]]\nae_title = "SCANNER"\n{lines}objects = {objects}\n'


def test_check_says_that_orthanc_takes_report_and_picture(ceus_node: CeusNode, tmp_path: Path) -> None:
    with Orthanc(tmp_path) as orthanc:
        answer = ceus_node("check", "-c", config(tmp_path, destination(orthanc.dicom_port, orthanc.ae_title)))
    assert answer.code == DONE, answer.out
    for kind in ("SR", "SC"):
        assert f"takes {kind} (" in answer.out
    assert "FAIL" not in answer.out


def test_check_says_what_a_peer_will_not_take(ceus_node: CeusNode, tmp_path: Path) -> None:
    with storescp_that_takes(tmp_path, ["MultiframeTrueColorSecondaryCaptureImageStorage"]) as port:
        answer = ceus_node("check", "-c", config(tmp_path, destination(port, "STORESCP")))
    assert answer.code == FAILED
    (report,) = [line for line in answer.out.splitlines() if "SR (" in line]
    assert report.startswith("FAIL")
    assert "does NOT take SR" in report


def test_check_names_a_pinned_model_that_is_not_there(ceus_node: CeusNode, tmp_path: Path) -> None:
    answer = ceus_node("check", "-c", config(tmp_path, '[models.pins]\nlesion_seg = "999"\n'))
    assert answer.code == FAILED
    (line,) = [line for line in answer.out.splitlines() if "model lesion_seg" in line]
    assert line.startswith("FAIL")
    assert "999" in line


def test_check_says_whether_a_peer_commits_where_it_is_to(ceus_node: CeusNode, tmp_path: Path) -> None:
    with storescp_that_takes(tmp_path, ["MultiframeTrueColorSecondaryCaptureImageStorage"]) as port:
        wanted = destination(port, "STORESCP", '["sc"]\nstorage_commitment = true')
        answer = ceus_node("check", "-c", config(tmp_path, wanted))
    assert answer.code == FAILED
    assert "does NOT offer Storage Commitment" in answer.out


def test_check_names_a_peer_that_is_down_and_a_disk_that_is_full(ceus_node: CeusNode, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    full = "[retention]\nmin_free_mb = 1000000000\n"  # a petabyte
    answer = ceus_node("check", "-c", config(tmp_path, full + destination(port, "DOWN")))
    assert answer.code == FAILED
    failed = [line for line in answer.out.splitlines() if line.startswith("FAIL")]
    assert any("C-ECHO pacs" in line for line in failed)
    assert any("[retention] min_free_mb" in line for line in failed)


def test_send_answers_each_file(ceus_node: CeusNode, contrast_cine: Path, tmp_path: Path) -> None:
    letter = tmp_path / "letter.dcm"
    letter.write_text("dear colleague")
    find_peer("Orthanc")
    with Orthanc(tmp_path) as orthanc:
        settings = config(tmp_path, destination(orthanc.dicom_port, orthanc.ae_title))
        sent = ceus_node("send", contrast_cine, "--to", "pacs", "-c", settings)
        assert sent.code == DONE, sent.text
        assert len(orthanc.instances()) == 1
        mixed = ceus_node("send", letter, contrast_cine, "--to", "pacs", "-c", settings)
    assert mixed.code == FAILED
    assert {line.split(":")[0] for line in mixed.out.splitlines()} == {letter.name, contrast_cine.name}
    down = ceus_node("send", contrast_cine, "--to", "pacs", "-c", settings)
    assert down.code == FAILED
