"""TLS as it is configured: with DCMTK at the other end, in both directions, and nothing in the clear by accident."""

from __future__ import annotations

import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from dicom_node.certificate import holds_until, renew
from dicom_node.checks import run_checks
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


def issue(authority: trustme.CA, folder: Path, days: int) -> Settings:
    """A configuration whose certificate ends in so many days from now."""
    now = datetime.now(UTC)
    issued = authority.issue_cert(LOOPBACK, not_before=now - timedelta(days=90), not_after=now + timedelta(days=days))
    issued.private_key_pem.write_to_path(folder / "our.key")
    issued.cert_chain_pems[0].write_to_path(folder / "our.pem")
    return Settings(security={"tls_certificate": folder / "our.pem", "tls_key": folder / "our.key"})


def test_the_end_of_a_certificate_is_read(tmp_path: Path) -> None:
    settings = issue(trustme.CA(), tmp_path, 40)
    end = holds_until(settings.security)
    assert end is not None
    # openssl prints: notAfter=Dec 31 03:58:12 2026 GMT
    command = [find_peer("openssl"), "x509", "-enddate", "-noout", "-in", str(tmp_path / "our.pem")]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert end.strftime("notAfter=%b %e %H:%M:%S %Y GMT") == printed
    assert holds_until(Settings().security) is None


@pytest.mark.parametrize(
    ("days", "passed", "said"), [(40, True, "holds until"), (20, False, "renew it now"), (-1, False, "expired")]
)
def test_check_tells_of_a_certificate_before_it_ends(tmp_path: Path, days: int, passed: bool, said: str) -> None:
    settings = issue(trustme.CA(), tmp_path, days)
    (line,) = [r for r in run_checks(settings) if r.text.startswith("TLS")]
    assert (line.passed, said in line.text) == (passed, True), line


def test_a_renewed_certificate_is_shown_without_a_restart(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    settings = issue(authority, tmp_path, 30)
    context = server_context(settings.security)
    assert context is not None
    (tmp_path / "node").mkdir()
    with Node(tmp_path / "node", any_peer_is_scanner=True, ssl_context=context) as node:
        first = shown_certificate(node.port)
        seen = renew(context, settings.security, ())
        issued = authority.issue_cert(LOOPBACK)
        issued.cert_chain_pems[0].write_to_path(tmp_path / "our.pem")
        half = renew(context, settings.security, seen)  # the key is still the old one
        assert half == seen
        assert shown_certificate(node.port) == first
        issued.private_key_pem.write_to_path(tmp_path / "our.key")
        assert renew(context, settings.security, seen) != seen
        assert shown_certificate(node.port) == issued.cert_chain_pems[0].bytes().decode()


def shown_certificate(port: int) -> str:
    """What a new connection is shown."""
    return ssl.get_server_certificate((LOOPBACK, port))
