"""The audit trail, read as a repository would: RFC 5424 header, PS3.15 A.5.1 elements, one patient a message."""

from __future__ import annotations

import re
import socket
import ssl
import threading
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import trustme

from dicom_node.acquisition import Peer
from dicom_node.audit import SENT, AuditTrail, Far, Study, trail_of
from dicom_node.audit_forwarding import AuditForwarder, waiting_bytes
from dicom_node.config import Settings, load_settings
from dicom_node.delivery import deliver
from dicom_node.errors import ConfigurationError
from dicom_node.model_commands import Approval, approve
from dicom_node.results import ResultFolder
from dicom_node.retrieving import PacsCall, SeriesQuery, find_series
from dicom_node.steering import by_hand
from dicom_node.transport.requestor import RemoteNode
from tests.dicom_node.network_scenes import Node, Scene, store_status, uid_of
from tests.dicom_node.test_retrieving import NOVEMBER
from tests.onnx_models import tiny_onnx as tiny
from tests.peers import LOOPBACK, Orthanc, storescu

START = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
# RFC 5424 6: PRI (facility 10, severity 5), version, time stamp, host, application, process, message ID, no data, BOM.
HEADER = re.compile(rb"<85>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z \S+ ceus-node \d+ IHE\+RFC-3881 - \xef\xbb\xbf(.*)")


class Message:
    """One line, taken apart by the schema."""

    def __init__(self, line: bytes) -> None:
        header = HEADER.fullmatch(line)
        assert header is not None, line
        self.xml = ElementTree.fromstring(header[1].decode())
        assert self.xml.tag == "AuditMessage"
        order = [child.tag for child in self.xml]
        kinds = [
            "EventIdentification",
            "ActiveParticipant",
            "AuditSourceIdentification",
            "ParticipantObjectIdentification",
        ]
        assert order == sorted(order, key=kinds.index), "the schema's order"
        assert {"EventDateTime", "EventOutcomeIndicator"} <= set(self.xml[0].attrib)
        for coded in (*self.xml.iter("EventID"), *self.xml.iter("EventTypeCode"), *self.xml.iter("RoleIDCode")):
            assert set(coded.attrib) == {"csd-code", "codeSystemName", "originalText"}
        assert sum(p.get("UserIsRequestor") == "true" for p in self.xml.iter("ActiveParticipant")) <= 1

    @property
    def event(self) -> str:
        """EventID and types by their meanings."""
        named = [*self.xml.iter("EventID"), *self.xml.iter("EventTypeCode")]
        return ", ".join(str(code.get("originalText")) for code in named)

    @property
    def outcome(self) -> str | None:
        return self.xml[0].get("EventOutcomeIndicator")

    def objects(self, meaning: str) -> list[str | None]:
        """Identifiers of the objects whose identifier is of that type."""
        found = self.xml.iter("ParticipantObjectIdentification")
        types = "ParticipantObjectIDTypeCode"
        return [o.get("ParticipantObjectID") for o in found if o.find(types).get("originalText") == meaning]  # type: ignore[union-attr]

    @property
    def instances(self) -> int:
        return sum(int(found.get("NumberOfInstances", 0)) for found in self.xml.iter("SOPClass"))

    def participant(self, role: str) -> dict[str, str]:
        for who in self.xml.iter("ActiveParticipant"):
            if any(code.get("originalText") == role for code in who.iter("RoleIDCode")):
                return who.attrib
        raise AssertionError(f"no {role}")


def trail(folder: Path) -> AuditTrail:
    return AuditTrail(folder / "audit", "CEUS_NODE", "receiver")


def messages(folder: Path) -> list[Message]:
    lines = [line for file in sorted(folder.glob("*.log")) for line in file.read_bytes().splitlines()]
    return [Message(line) for line in lines]


def settings_of(folder: Path, **audit: Any) -> Settings:
    pacs = {"name": "pacs", "ae_title": "ORTHANC", "host": LOOPBACK, "port": 1}
    return load_settings(
        None, node={"data_dir": folder}, destination=(pacs,), audit={"enabled": True, **audit}, models={"dir": folder}
    )


def test_each_study_of_an_association_is_a_message_with_its_own_patient_and_the_log_names_nobody(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    scenes = [Scene(1, "AUDITED-1", 1, 1), Scene(2, "AUDITED-2", 2, 2), Scene(3, "AUDITED-1", 1, 1)]
    with Node(tmp_path, audit=trail(tmp_path)) as node:
        assert storescu([scene.file(tmp_path / "out") for scene in scenes], node.port).returncode == 0
        assert node.ended.acquire(timeout=20)
    begun, ended = messages(tmp_path / "audit")[:2], messages(tmp_path / "audit")[2:]
    assert [message.event for message in begun] == ["Begin Transferring DICOM Instances"] * 2
    assert [message.event for message in ended] == ["DICOM Instances Transferred"] * 2
    for together in (begun, ended):
        told = [(m.objects("Study Instance UID"), m.objects("Patient Number")) for m in together]
        assert told == [([uid_of(1, 1)], ["AUDITED-1"]), ([uid_of(1, 2)], ["AUDITED-2"])]
    assert [message.instances for message in ended] == [2, 1]
    assert ended[0].participant("Source Role ID")["AlternativeUserID"] == "AETITLES=SCANNER"
    assert ended[0].participant("Source Role ID")["NetworkAccessPointID"] == LOOPBACK
    assert ended[0].participant("Destination Role ID")["UserIsRequestor"] == "false"
    assert "AUDITED" not in "".join(capfd.readouterr())


def test_what_was_refused_or_held_already_is_told_apart_from_what_is_new(tmp_path: Path) -> None:
    changed = Scene(1, attributes={"PixelData": b"\0" * 3072})
    with Node(tmp_path, audit=trail(tmp_path)) as node:
        for scene in (Scene(1), Scene(1), changed):
            store_status(node.port, scene)
            assert node.ended.acquire(timeout=20)
    found = [m for m in messages(tmp_path / "audit") if m.event == "DICOM Instances Transferred"]
    assert [(m.xml[0].get("EventActionCode"), m.outcome) for m in found] == [("C", "0"), ("R", "0"), ("R", "4")]


def test_a_stranger_and_a_failed_handshake_are_security_alerts(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(LOOPBACK).configure_cert(context)
    with Node(tmp_path, audit=trail(tmp_path), peers=(Peer("SCANNER"),)) as node:
        assert store_status(node.port, Scene(), calling="INTRUDER") is None
    with Node(tmp_path, audit=trail(tmp_path), ssl_context=context) as node:
        client = ssl.create_default_context()  # knows no such authority, and says so
        with socket.create_connection((LOOPBACK, node.port), timeout=10) as plain, pytest.raises(ssl.SSLError):
            client.wrap_socket(plain, server_hostname=LOOPBACK)
        assert threading.Event().wait(0.2) is False  # the alert crosses the loopback
    alerts = messages(tmp_path / "audit")
    assert [(alert.event, alert.outcome) for alert in alerts] == [("Security Alert, Node Authentication", "4")] * 2
    assert "AETITLES=INTRUDER" in {p.get("AlternativeUserID") for p in alerts[0].xml.iter("ActiveParticipant")}


@pytest.mark.peers
def test_a_delivery_and_a_query_name_the_patient_and_the_pacs(tmp_path: Path) -> None:
    with Orthanc(tmp_path) as pacs:
        settings = settings_of(tmp_path)
        destination = settings.destination[0].model_copy(update={"port": pacs.dicom_port})
        result = ResultFolder(tmp_path / "results", "acquisition", "job")
        with result.being_made() as made:
            Scene(1, "AUDITED", frames=1).file(made).rename(made / "sr.dcm")
        deliver(result, destination, settings, now=START)
        remote = RemoteNode(pacs.ae_title, LOOPBACK, pacs.dicom_port)
        call = PacsCall(remote, "CEUS_NODE", audit=trail_of(settings, "sender"))
        find_series(call, SeriesQuery("AUDITED", "SR", *NOVEMBER))
    begun, sent, query = messages(tmp_path / "audit")
    assert (begun.event, sent.event) == ("Begin Transferring DICOM Instances", "DICOM Instances Transferred")
    assert sent.objects("Patient Number") == ["AUDITED"]
    assert sent.participant("Destination Role ID")["UserID"] == "ORTHANC"
    assert sent.participant("Source Role ID")["UserIsRequestor"] == "true"
    assert query.event == "Query"
    (asked,) = query.xml.iter("ParticipantObjectQuery")
    assert b"AUDITED" in b64decode(asked.text or "")


def test_a_delivery_that_fails_is_told_as_failed(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)  # nobody listens on port 1
    result = ResultFolder(tmp_path / "results", "acquisition", "job")
    with result.being_made() as made:
        Scene(1, "AUDITED", frames=1).file(made).rename(made / "sr.dcm")
    deliver(result, settings.destination[0], settings, now=START)
    (_, failed) = messages(tmp_path / "audit")
    assert failed.outcome == "4"
    assert "cannot be reached" in (failed.xml[0].findtext("EventOutcomeDescription") or "")


def test_acts_of_people_name_who_and_what(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)

    def retry(_: Settings, name: str) -> str:
        return name

    assert by_hand(retry, settings, "job-1") == "job-1"
    (act,) = messages(tmp_path / "audit")
    assert act.event == "Security Alert, Use of Restricted Function"
    assert act.objects("Report Number") == ["job-1"]
    (who,) = [p for p in act.xml.iter("ActiveParticipant") if p.get("UserIsRequestor") == "true"]
    assert "@" in str(who.get("UserID"))


def test_a_model_that_somebody_answers_for_is_in_the_trail(tmp_path: Path) -> None:
    tiny.install(tmp_path, version="30")
    approve(settings_of(tmp_path), Approval("lesion_seg", "30", "shadow", "Dr Ada", "to be watched for a month"))
    (act,) = messages(tmp_path / "audit")
    assert act.event == "Security Alert, Software Configuration"
    assert "Dr Ada" in {who.get("UserName") for who in act.xml.iter("ActiveParticipant")}
    assert "to be watched for a month" in (act.xml[0].findtext("EventOutcomeDescription") or "")


def test_without_the_switch_nothing_is_written(tmp_path: Path) -> None:
    off = load_settings(None, node={"data_dir": tmp_path})
    trail_of(off, "receiver").started()
    trail_of(off, "receiver").begins(Far("A", LOOPBACK), Study("1.2", "P"), SENT)
    assert not (tmp_path / "audit").exists()
    with pytest.raises(ConfigurationError, match="audit: syslog_host without enabled"):
        load_settings(None, audit={"syslog_host": "192.0.2.1"})


def test_a_full_disk_stops_the_trail_and_not_the_node(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "audit").write_text("a file where the folder should be")
    trail(tmp_path).started()
    assert "audit_not_written" in "".join(capfd.readouterr())


class Repository:
    """A syslog server over TLS that takes RFC 5425 frames and hangs up once, after its second message."""

    def __init__(self, authority: trustme.CA) -> None:
        self.messages: list[bytes] = []
        self.came = threading.Semaphore(0)
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("localhost").configure_cert(self._context)

    @contextmanager
    def serving(self, port: int = 0) -> Iterator[int]:
        with socket.create_server(("localhost", port)) as listener:
            threading.Thread(target=self._serve, args=(listener,), daemon=True).start()
            yield listener.getsockname()[1]
            listener.shutdown(socket.SHUT_RDWR)

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            with suppress(ssl.SSLError), self._context.wrap_socket(plain, server_side=True) as connection:
                self._take(connection.makefile("rb"))

    def _take(self, stream: Any) -> None:
        with stream:
            while length := self._number(stream):
                self.messages.append(stream.read(length))
                self.came.release()
                if len(self.messages) == 2:
                    return  # it hangs up, as a server that is restarted

    @staticmethod
    def _number(stream: Any) -> int:
        digits = b""
        while (byte := stream.read(1)) not in (b" ", b""):
            digits += byte
        return int(digits or 0)


def test_a_tls_repository_gets_every_line_once_and_in_order_over_its_own_and_our_restarts(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    repository = Repository(authority)
    with repository.serving() as port:
        pass  # down from here, on a port that is known
    settings = load_settings(
        None,
        node={"data_dir": tmp_path},
        audit={"enabled": True, "syslog_host": "localhost", "syslog_port": port},
        security={"tls_ca": tmp_path / "ca.pem"},
    )
    written = trail_of(settings, "receiver")
    written.started()
    with pytest.raises(OSError, match="refused"):
        AuditForwarder(settings).forward()
    assert waiting_bytes(tmp_path / "audit") > 100
    with repository.serving(port):
        first = AuditForwarder(settings)
        assert first.forward() == 1
        written.started()
        assert first.forward() == 1  # the server hangs up after it
        assert repository.came.acquire(timeout=10)
        assert repository.came.acquire(timeout=10)
        threading.Event().wait(0.2)  # its end of connection crosses the loopback
        written.started(ends=True)
        assert first.forward() == 1
        first.close()
        written.started(ends=True)
        second = AuditForwarder(settings)
        assert second.forward() == 1
        assert repository.came.acquire(timeout=10)
        assert repository.came.acquire(timeout=10)
        second.close()
    lines = b"".join(line + b"\n" for line in repository.messages)
    assert lines == b"".join(file.read_bytes() for file in (tmp_path / "audit").glob("*.log"))
    assert waiting_bytes(tmp_path / "audit") == 0


def test_a_repository_with_anothers_certificate_gets_nothing(tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    repository = Repository(trustme.CA())
    with repository.serving() as port:
        settings = load_settings(
            None,
            node={"data_dir": tmp_path},
            audit={"enabled": True, "syslog_host": "localhost", "syslog_port": port},
            security={"tls_ca": tmp_path / "ca.pem"},
        )
        trail_of(settings, "receiver").started()
        with pytest.raises(ssl.SSLCertVerificationError):
            AuditForwarder(settings).forward()
    assert repository.messages == []


def test_datagrams_hold_a_message_each(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((LOOPBACK, 0))
        server.settimeout(10)
        audit = {"enabled": True, "syslog_host": LOOPBACK, "syslog_transport": "udp"}
        settings = load_settings(
            None, node={"data_dir": tmp_path}, audit={**audit, "syslog_port": server.getsockname()[1]}
        )
        trail_of(settings, "web").started()
        AuditForwarder(settings).forward()
        assert Message(server.recv(65_536)).event == "Application Activity, Application Start"
