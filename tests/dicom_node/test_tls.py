"""TLS as it is configured: with DCMTK at the other end, in both directions, and nothing in the clear by accident."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from dicom_node.config import Settings
from dicom_node.errors import ConfigurationError
from dicom_node.sending import Verdict, echo, send_files
from dicom_node.tls import remote_node, server_context
from dicom_node.transport.requestor import RemoteNode
from tests.dicom_node.network_scenes import Node, Scene
from tests.peers import LOOPBACK, find_peer, free_ports


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an authority's certificate, one for loopback with its key, and a stranger's."""
    folder = tmp_path_factory.mktemp("papers")
    for name in ("ours", "strangers"):
        authority = trustme.CA()
        authority.cert_pem.write_to_path(folder / f"{name}-ca.pem")
        issued = authority.issue_cert(LOOPBACK, "localhost")
        issued.private_key_pem.write_to_path(folder / f"{name}.key")
        issued.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
    return folder


def settings_of(papers: Path, port: int = 1, who: str = "ours", ca: str = "ours") -> Settings:
    """A configuration with a certificate and one destination with TLS."""
    security = {
        "tls_certificate": papers / f"{who}.pem",
        "tls_key": papers / f"{who}.key",
        "tls_ca": papers / f"{ca}-ca.pem",
    }
    destination = {"name": "pacs", "ae_title": "ANY", "host": LOOPBACK, "port": port, "tls": True}
    return Settings(security=security, destination=(destination,))


@contextmanager
def storescp_with_tls(folder: Path, papers: Path) -> Iterator[int]:
    """DCMTK's receiver that wants a certificate of our authority."""
    (port,) = free_ports(1)
    folder.mkdir()
    tls = ["+tls", str(papers / "ours.key"), str(papers / "ours.pem"), "+cf", str(papers / "ours-ca.pem")]
    command = [find_peer("storescp"), *tls, "-od", str(folder), str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    remote = remote_node(settings_of(papers, port), settings_of(papers, port).destination[0])
    try:
        deadline = time.monotonic() + 20.0
        while not echo(remote, "CEUS_NODE").delivered:
            assert time.monotonic() < deadline, "storescp does not answer over TLS"
        yield port
    finally:
        process.terminate()
        process.wait(timeout=10)


def test_results_travel_to_dcmtk_over_tls(tmp_path: Path, papers: Path) -> None:
    path = Scene(frames=20, size=200).file(tmp_path / "out")
    with storescp_with_tls(tmp_path / "in", papers) as port:
        settings = settings_of(papers, port)
        ((_, outcome),) = send_files(remote_node(settings, settings.destination[0]), "CEUS_NODE", [path])
        assert outcome.verdict is Verdict.STORED, outcome
        plain = echo(RemoteNode("ANY", LOOPBACK, port), "CEUS_NODE")
        assert not plain.delivered


def test_a_destination_with_anothers_certificate_gets_nothing(tmp_path: Path, papers: Path) -> None:
    path = Scene().file(tmp_path / "out")
    strangers = settings_of(papers, who="strangers", ca="strangers")
    with Node(tmp_path, any_peer_is_scanner=True, ssl_context=server_context(strangers.security)) as node:
        settings = settings_of(papers, node.port)
        ((_, outcome),) = send_files(remote_node(settings, settings.destination[0]), "CEUS_NODE", [path])
        assert outcome.verdict is Verdict.UNREACHABLE
        assert node.files() == []


def test_a_scanner_sends_over_tls_if_it_shows_its_certificate(tmp_path: Path, papers: Path) -> None:
    path = Scene().file(tmp_path / "out")

    def storescu(*tls: str) -> int:
        command = [
            find_peer("storescu"),
            *tls,
            "+cf",
            str(papers / "ours-ca.pem"),
            "-aet",
            "SCANNER",
            "-aec",
            "CEUS_NODE",
        ]
        return subprocess.run(
            [*command, LOOPBACK, str(node.port), str(path)], capture_output=True, check=False
        ).returncode

    with Node(tmp_path, ssl_context=server_context(settings_of(papers).security)) as node:
        assert storescu("+tls", str(papers / "ours.key"), str(papers / "ours.pem")) == 0
        assert len(node.spool.instances()) == 1
        assert storescu("+tla") != 0  # anonymous
        assert len(node.spool.instances()) == 1


def test_without_a_certificate_there_is_no_tls_port() -> None:
    assert server_context(Settings().security) is None


def test_a_certificate_that_cannot_be_read_is_named(tmp_path: Path, papers: Path) -> None:
    (tmp_path / "odd.pem").write_text("no certificate")
    for keys in ({"tls_certificate": tmp_path / "missing.pem"}, {"tls_certificate": tmp_path / "odd.pem"}):
        with pytest.raises(ConfigurationError, match=r"security\.tls_certificate"):
            server_context(Settings(security=keys).security)
    certificate = {"tls_certificate": papers / "ours.pem", "tls_key": papers / "ours.key"}
    with pytest.raises(ConfigurationError, match=r"security\.tls_ca"):
        server_context(Settings(security={**certificate, "tls_ca": tmp_path / "missing.pem"}).security)
