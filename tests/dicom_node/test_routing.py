"""Where an arriving object goes: a table of what scanners, PACS and strangers send."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydicom._uid_dict import UID_dictionary
from pydicom.uid import UID, ExplicitVRLittleEndian, HTJ2KLossless, ImplicitVRLittleEndian, JPEGBaseline8Bit

from dicom_node.acquisition import ArrivalKind, Origin, Peer, PeerRole
from dicom_node.cine_decoders import VIDEO_SYNTAXES, decoder_for
from dicom_node.config import Settings
from dicom_node.file_meta import IMPLEMENTATION_CLASS_UID
from dicom_node.receiver import MAXIMUM_PDU_BYTES, receiver_settings
from dicom_node.routing import (
    OWN_EQUIPMENT,
    READABLE_SYNTAXES,
    Arrival,
    acceptable_syntaxes,
    find_peer,
    is_kept_class,
    is_storage,
    origin_of,
    route,
)
from dicom_node.status import Status
from reports.equipment import MANUFACTURER
from reports.uids import ResultIdentity

CINE = "1.2.840.10008.5.1.4.1.1.3.1"
SR = "1.2.840.10008.5.1.4.1.1.88.34"
PDF = "1.2.840.10008.5.1.4.1.1.104.1"
SCANNER = Peer("S")
STRICT = Peer("S", drop_unwanted=False)
PACS = Peer("P", role=PeerRole.DESTINATION)
STRANGER = Peer("*", role=PeerRole.UNKNOWN)
OK = Status.SUCCESS
OWN_UID = ResultIdentity("acquisition", ("1.2.3",), "settings", "0.1.0").uid("sr")
JPEGXL = "1.2.840.10008.1.2.4.112"  # PS3.6 table A-1; pydicom 3.0 has no name for it


@pytest.mark.parametrize(
    ("peer", "sop_class", "frames", "model", "kind", "keep", "status"),
    [
        (SCANNER, CINE, 90, "S1", ArrivalKind.CINE, True, OK),
        (SCANNER, CINE, 1, "S1", ArrivalKind.STILL, True, OK),
        (SCANNER, PDF, 1, "S1", ArrivalKind.UNWANTED, False, OK),
        (STRICT, PDF, 1, "S1", ArrivalKind.UNWANTED, False, Status.SOP_CLASS_NOT_SUPPORTED),
        (SCANNER, CINE, 90, OWN_EQUIPMENT, ArrivalKind.OWN_OBJECT, False, OK),
        (PACS, SR, 1, OWN_EQUIPMENT, ArrivalKind.OWN_OBJECT, False, OK),
        (PACS, SR, 1, "Viewer", ArrivalKind.CONTOUR, True, OK),
        (PACS, CINE, 90, "S1", ArrivalKind.CINE, False, OK),
        (STRANGER, CINE, 90, "S1", ArrivalKind.CINE, False, Status.NOT_AUTHORISED),
    ],
)
def test_the_way_of_an_object(
    peer: Peer, sop_class: str, frames: int, model: str, kind: ArrivalKind, keep: bool, status: Status
) -> None:
    arrival = Arrival(sop_class, frames, "Maker", model, True, OWN_UID)
    way = route(arrival, peer, origin_of(peer, "", "NODE"))
    assert (way.kind, way.keep, way.status) == (kind, keep, status)


@pytest.mark.parametrize("uid", ["1.2.276.0.7230010.3.1.4.1", "2.25.19756505611946251072", "2.25.7", ""])
def test_one_of_our_outlines_that_a_viewer_edited_is_a_readers_whatever_equipment_it_names(uid: str) -> None:
    for peer in (PACS, SCANNER):
        way = route(Arrival(SR, 1, OWN_EQUIPMENT, OWN_EQUIPMENT, False, uid), peer, origin_of(peer, "", "NODE"))
        assert (way.kind, way.keep) == (ArrivalKind.CONTOUR, True)


def test_an_answer_to_our_own_retrieve_that_nobody_waits_for_any_longer_starts_nothing() -> None:
    assert origin_of(PACS, " NODE ", "node") is Origin.RETRIEVE
    for sop_class, model in ((SR, OWN_EQUIPMENT), (SR, "Viewer"), (CINE, "S1")):
        way = route(Arrival(sop_class, 1, "", model, True, OWN_UID), PACS, Origin.RETRIEVE)
        assert (way.keep, way.status) == (False, Status.SUCCESS)


def test_the_scanner_chooses_the_encoding_and_jpeg_xl_is_refused_while_it_can() -> None:
    offer = [JPEGXL, JPEGBaseline8Bit, ImplicitVRLittleEndian, ExplicitVRLittleEndian]
    assert acceptable_syntaxes(CINE, offer, SCANNER) == tuple(offer[1:])
    assert acceptable_syntaxes(CINE, [JPEGXL], SCANNER) == ()
    assert acceptable_syntaxes(CINE, [HTJ2KLossless], SCANNER) == (HTJ2KLossless,)
    assert acceptable_syntaxes(PDF, [JPEGXL], SCANNER) == (JPEGXL,)  # dropped in any encoding
    assert acceptable_syntaxes(PDF, [ExplicitVRLittleEndian], STRICT) == ()


@pytest.mark.parametrize(
    "service",
    [
        "1.2.840.10008.1.20.1",  # Storage Commitment: the node is no archive
        "1.2.840.10008.5.1.4.1.2.2.2",  # C-MOVE
        "1.2.840.10008.5.1.4.1.1.200.5",  # a retrieve service under the storage root
        "1.2.840.10008.3.1.2.3.3",  # MPPS
        "1.2.840.10008.5.1.1.9",  # print
    ],
)
def test_services_are_not_taken_for_objects(service: str) -> None:
    assert not is_storage(service)
    assert acceptable_syntaxes(service, [ExplicitVRLittleEndian], SCANNER) == ()


def test_a_pacs_that_is_a_scanner_too_counts_as_a_scanner() -> None:
    both = [Peer("P", role=PeerRole.DESTINATION), Peer("P", role=PeerRole.SCANNER)]
    found = find_peer(both, "P", ("192.0.2.1",))
    assert found is not None
    assert found.role is PeerRole.SCANNER


def test_the_configuration_becomes_peers() -> None:
    settings = Settings(
        scanner=({"ae_title": "US1", "host": "", "profile": "site", "priority": 2, "unwanted": "refuse"},),
        destination=({"name": "pacs", "ae_title": "PACS", "host": "192.0.2.9", "port": 104},),
        retention={"min_free_mb": 7},
    )
    made = receiver_settings(settings)
    assert made.limits.reserve_bytes == 7 << 20
    assert made.require_known_peers
    assert not made.any_peer_is_scanner
    us1 = find_peer(made.peers, "US1", ("192.0.2.1",))
    assert us1 == Peer("US1", "*", PeerRole.SCANNER, "site", 2, drop_unwanted=False)
    for title, host in (("PACS", "192.0.2.50"), ("OTHER_TITLE", "192.0.2.9")):
        peer = find_peer(made.peers, title, (host,))
        assert peer is not None
        assert peer.role is PeerRole.DESTINATION
    assert find_peer(made.peers, "OTHER_TITLE", ("192.0.2.50",)) is None


def test_the_conformance_statement_says_what_the_code_does() -> None:
    statement = (Path(__file__).parents[2] / "docs" / "conformance.md").read_text()
    uids = set(re.findall(r"\| (1\.2\.840\.10008\.[0-9.]+) \|", statement))
    classes = {uid for uid in uids if uid.startswith("1.2.840.10008.5.1.4.1.1.")}
    assert uids - classes == READABLE_SYNTAXES
    assert all(is_kept_class(uid) for uid in classes)
    every = {uid for uid in UID_dictionary if is_kept_class(uid)}
    assert every <= classes
    codes = {int(code, 16) for code in re.findall(r"\b0x([0-9A-F]{4})\b", statement)}
    warnings = {Status.COERCED, Status.ELEMENTS_DISCARDED, Status.DATASET_DOES_NOT_MATCH_SOP_CLASS_WARNING}
    assert codes == set(Status) - warnings  # the warnings are what destinations answer us
    assert IMPLEMENTATION_CLASS_UID in statement
    assert f"{MAXIMUM_PDU_BYTES:,}" in statement


@pytest.mark.parametrize("syntax", sorted(READABLE_SYNTAXES))
def test_what_is_taken_from_the_network_can_be_decoded(syntax: str) -> None:
    assert syntax in VIDEO_SYNTAXES or callable(decoder_for(UID(syntax)))


def test_the_receiver_knows_the_nodes_own_equipment_without_importing_its_reports() -> None:
    assert OWN_EQUIPMENT == MANUFACTURER
