"""Storage Commitment with a real PACS and with peers that answer late, wrongly, on the same association, or never."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE, build_role
from pynetdicom.sop_class import StorageCommitmentPushModel

from dicom_node.acquisition import ANY, Peer, PeerRole
from dicom_node.commitment_keeper import MOST_ASKED, MOST_RESENDS, CommitmentKeeper
from dicom_node.commitments import CommitmentDesk, Transaction, take_report
from dicom_node.committing import commitment_request
from dicom_node.data_folder import DataFolder
from dicom_node.status import Status
from tests.dicom_node.commitment_scenes import LATE, ROOT, SC, START, Pacs, Ward, orthanc_and_receiver, report_on
from tests.dicom_node.network_scenes import SCANNER, Node, Scene
from tests.peers import LOOPBACK, Orthanc, free_ports, tied


@pytest.mark.peers
def test_orthanc_commits_and_only_then_the_result_is_delivered(tmp_path: Path) -> None:
    with orthanc_and_receiver(tmp_path) as (pacs, ward):
        assert ward.deliver().state == "committing"
        assert len(pacs.instances()) == 2
        ward.look_until(lambda: ward.ledger.state == "delivered")
        assert all(item.committed and item.status.endswith(", committed") for item in ward.ledger.objects)
        assert ward.keeper().look(START) > 0
        assert list(DataFolder(tmp_path / "data").commitments.iterdir()) == [], "nothing is left on the desk"


@pytest.mark.peers
def test_what_orthanc_lost_is_sent_again_and_committed(tmp_path: Path) -> None:
    with orthanc_and_receiver(tmp_path) as (pacs, ward):
        ward.deliver()
        lost = next(
            item for item in pacs.instances() if item["SOPInstanceUID"] == ward.ledger.objects[1].sop_instance_uid
        )
        pacs.rest(f"/instances/{lost['id']}", method="DELETE")
        ward.look_until(lambda: ward.ledger.state == "pending")
        assert [item.sent for item in ward.ledger.objects] == [True, False]
        assert ward.ledger.objects[1].status == "not committed: no such instance (0x0112)"
        assert ward.ordered == [("job", "pacs", 1)]
        assert ward.deliver().state == "committing"
        assert ward.ledger.objects[0].attempts == 1, "what it keeps is not sent twice"
        ward.look_until(lambda: ward.ledger.state == "delivered")
        assert len(pacs.instances()) == 2


@pytest.mark.peers
def test_orthanc_cannot_make_us_responsible_for_what_it_has(tmp_path: Path) -> None:
    """The node is no archive: a destination that asks us for commitment is refused, as its own log says."""
    with orthanc_and_receiver(tmp_path) as (pacs, _):
        pacs.rest("/instances", Scene(7).file(tmp_path).read_bytes())
        resources = {"Resources": pacs.rest("/instances"), "Synchronous": True}
        with pytest.raises(OSError, match="HTTP Error"):
            pacs.rest("/modalities/node/storage-commitment", resources)


def test_a_report_on_the_same_association_counts(tmp_path: Path) -> None:
    pacs = Pacs(lambda request: report_on(request, {}))
    with pacs.serving() as port:
        ward = Ward(tmp_path, "PACS", port)
        ward.deliver()
        ward.look_until(lambda: ward.ledger.state == "delivered")
    assert pacs.answers == [Status.SUCCESS]
    (request,) = pacs.asked
    assert {item.ReferencedSOPInstanceUID for item in request.ReferencedSOPSequence} == {
        item.sop_instance_uid for item in ward.ledger.objects
    }


def test_a_pacs_that_loses_an_object_again_and_again_is_named_and_the_objects_can_be_sent_by_hand(
    tmp_path: Path,
) -> None:
    lost = Scene(2).sop_instance_uid
    with Pacs(lambda request: report_on(request, {lost: Status.RESOURCE_LIMITATION})).serving() as port:
        ward = Ward(tmp_path, "PACS", port)
        for resends in range(MOST_RESENDS):
            ward.deliver()
            ward.look_until(lambda: ward.ledger.state == "pending")
            assert ward.ordered[-1] == ("job", "pacs", resends + 1)
        ward.deliver()
        ward.look_until(lambda: ward.ledger.state == "failed")
    assert ward.ledger.failure is not None
    assert "sc_1.dcm: resource limitation (0x0213)" in ward.ledger.failure
    reopened = ward.ledger.reopened()
    assert reopened.state == "pending"
    assert [item.sent for item in reopened.objects] == [True, False]


def test_a_class_that_a_pacs_never_keeps_is_a_failure_at_once(tmp_path: Path) -> None:
    kept_not = Scene(1).sop_instance_uid
    with Pacs(lambda request: report_on(request, {kept_not: Status.SOP_CLASS_NOT_SUPPORTED})).serving() as port:
        ward = Ward(tmp_path, "PACS", port)
        ward.deliver()
        ward.look_until(lambda: ward.ledger.state == "failed")
    assert ward.ledger.failure == (
        "pacs: holds the objects but does not commit to keep them: sr.dcm: sop class not supported (0x0122)"
    )
    assert ward.ordered == []


def test_a_pacs_whose_reports_forget_an_object_is_asked_a_few_times_and_then_named(tmp_path: Path) -> None:
    def forgetful(request: Dataset) -> tuple[int, Dataset]:
        kind, information = report_on(request, {})
        del information.ReferencedSOPSequence[-1]
        return kind, information

    pacs = Pacs(forgetful)
    with pacs.serving() as port:
        ward = Ward(tmp_path, "PACS", port)
        ward.deliver()
        # The first report commits one object, so that the others are asked for the second alone, and name nothing.
        ward.look_until(lambda: ward.ledger.state == "failed")
    assert [item.committed for item in ward.ledger.objects] == [True, False]
    assert [len(request.ReferencedSOPSequence) for request in pacs.asked] == [2] + [1] * (MOST_ASKED - 1)
    assert "do not name every object" in (ward.ledger.failure or "")


def test_a_pacs_without_the_service_is_named(tmp_path: Path) -> None:
    with Pacs(lambda _: None).serving(commits=False) as port:
        ward = Ward(tmp_path, "PACS", port)
        ward.deliver()
        ward.look_until(lambda: ward.ledger.state == "failed")
    assert ward.ledger.failure == "pacs: PACS does not offer Storage Commitment"


def test_a_pacs_that_never_reports_is_asked_with_growing_patience_and_then_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dicom_node.committing.LISTENING_S", 0.0)
    pacs = Pacs(lambda _: None)
    with pacs.serving() as port:
        ward = Ward(tmp_path, "PACS", port)
        ward.deliver()
        now = START
        for times in range(1, MOST_ASKED + 1):
            ward.keeper().look(now)
            assert len(pacs.asked) == times
            ward.keeper().look(now + timedelta(seconds=60 * 2 ** (times - 1) - 1))
            assert len(pacs.asked) == times, "not before the wait is over"
            now += timedelta(seconds=60 * 2 ** (times - 1))
            ward.keeper().look(now)
    assert len({request.TransactionUID for request in pacs.asked}) == MOST_ASKED, "each under a UID of its own"
    assert ward.ledger.failure == f"pacs: no answer to {MOST_ASKED} requests for storage commitment"


def test_a_report_that_comes_while_the_sender_is_down_or_after_a_second_request_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The receiver wrote it down; a first transaction's report is as good as the second's."""
    monkeypatch.setattr("dicom_node.committing.LISTENING_S", 0.0)
    pacs = Pacs(lambda _: None)
    with pacs.serving() as port:
        ward = Ward(tmp_path, "PACS", port)
        ward.deliver()
        ward.keeper().look(START)
        ward.keeper().look(START + LATE)
        ward.keeper().look(START + LATE)
    first, _ = pacs.asked
    _, information = report_on(first, {})
    desk = CommitmentDesk(DataFolder(tmp_path / "data").commitments)
    assert take_report(desk, information)
    ward.keeper().look(START + LATE)
    assert ward.ledger.state == "delivered"


def test_a_desk_that_was_lost_is_laid_again_from_the_ledgers(tmp_path: Path) -> None:
    with Pacs(lambda request: report_on(request, {})).serving() as port:
        ward = Ward(tmp_path, "PACS", port)
        ward.deliver()
        for file in DataFolder(tmp_path / "data").commitments.iterdir():
            file.unlink()
        ward.look_until(lambda: ward.ledger.state == "delivered")
    assert all(item.committed for item in ward.ledger.objects)


def test_a_pacs_that_is_down_is_asked_when_it_is_back(tmp_path: Path) -> None:
    pacs = Pacs(lambda request: report_on(request, {}))
    with pacs.serving() as port:
        ward = Ward(tmp_path, "PACS", port)
        ward.deliver()
    ward.keeper().look(START)
    assert ward.ledger.state == "committing"
    assert ward.ledger.commitment is not None
    assert "cannot be reached" in ward.ledger.commitment.said
    assert pacs.asked == []


def test_commitment_switched_off_by_the_site_lets_the_result_be_delivered(tmp_path: Path) -> None:
    with Pacs(lambda _: None).serving() as port:
        ward = Ward(tmp_path, "PACS", port)
        ward.deliver()
    off = ward.settings.destination[0].model_copy(update={"storage_commitment": False})
    CommitmentKeeper(ward.settings, off, ward._order).take_up([ward.result])
    assert ward.ledger.state == "delivered"


@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's, about the mutilated UID
def test_a_report_that_nobody_asked_for_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    request = Dataset()
    request.TransactionUID, request.ReferencedSOPSequence = "2.25.666", []
    desk = CommitmentDesk(tmp_path / "commitments")
    assert not take_report(desk, report_on(request, {})[1])
    assert not take_report(desk, Dataset())
    desk.open(Transaction("2.25.5", "pacs", "acquisition", "job"))
    request.TransactionUID = "../2.25.5"
    assert not take_report(desk, report_on(request, {})[1])
    assert [file.name for file in (tmp_path / "commitments").iterdir()] == ["2.25.5.open"]


COMMITTING = Peer("PACS", role=PeerRole.DESTINATION, commits=True)
PLAIN_PACS = replace(COMMITTING, commits=False)


@pytest.mark.parametrize(
    ("peer", "role", "heard"),
    [
        (COMMITTING, "scp", True),
        (COMMITTING, "none", True),  # it forgot the role selection: many do
        (COMMITTING, "scu", False),  # it wants us to commit
        (PLAIN_PACS, "scp", False),
        (SCANNER, "none", False),
        (SCANNER, "scu", False),
        (SCANNER, "scp", False),
    ],
)
def test_only_whom_we_ask_for_commitment_may_report_and_nobody_is_offered_ours(
    tmp_path: Path, peer: Peer, role: str, heard: bool
) -> None:
    roles = {"scp": {"scp_role": True}, "scu": {"scu_role": True}, "none": {}}[role]
    with Node(tmp_path, peers=(replace(peer, host=ANY),)) as node:
        ae = AE(ae_title=peer.ae_title)
        ae.add_requested_context(StorageCommitmentPushModel)
        negotiation = [build_role(StorageCommitmentPushModel, **roles)] if roles else []
        assoc = ae.associate(LOOPBACK, node.port, ae_title="CEUS_NODE", ext_neg=negotiation)
        assert bool(assoc.accepted_contexts) is heard
        if role == "none" and heard:
            request = commitment_request("2.25.1", [(SC, "2.25.2")])
            answer, _ = assoc.send_n_action(request, 1, StorageCommitmentPushModel, "1.2.840.10008.1.20.1.1")
            assert answer.Status == Status.NOT_AUTHORISED
        assoc.abort()


def test_the_objects_that_are_asked_for_are_named_by_class_and_instance(tmp_path: Path) -> None:
    pacs = Pacs(lambda request: report_on(request, {}))
    with pacs.serving() as port:
        ward = Ward(tmp_path, "PACS", port)
        ward.deliver()
        ward.look_until(lambda: ward.ledger.state == "delivered")
    named = {(i.ReferencedSOPClassUID, i.ReferencedSOPInstanceUID) for i in pacs.asked[0].ReferencedSOPSequence}
    files = [dcmread(file) for file in ward.result.path.glob("*.dcm")]
    assert named == {(ds.SOPClassUID, ds.SOPInstanceUID) for ds in files}


@pytest.mark.peers
def test_the_roles_of_a_node_that_was_down_end_what_was_begun(tmp_path: Path) -> None:
    """As processes: the sender asks what the ledgers say is to be asked, Orthanc reports to the receiver."""
    pacs = Orthanc(tmp_path)
    ward = Ward(tmp_path, pacs.ae_title, pacs.dicom_port)
    (pacs.node_port,) = free_ports(1)
    config = tmp_path / "ceus-node.toml"
    lines = [f'[node]\nport = {pacs.node_port}\ndata_dir = "data"', '[[scanner]]\nae_title = "SCANNER"']
    lines.append(f'[[destination]]\nname = "pacs"\nae_title = "{pacs.ae_title}"\nhost = "{LOOPBACK}"')
    config.write_text("\n".join([*lines, f"port = {pacs.dicom_port}", "storage_commitment = true", ""]))
    command = [sys.executable, "-m", "dicom_node", "run"]
    with pacs, (tmp_path / "log").open("wb") as log:
        assert ward.deliver().state == "committing"
        roles = [
            subprocess.Popen(tied([*command, role, "--config", config]), stdout=log, stderr=log, cwd=ROOT)
            for role in ("receiver", "sender")
        ]
        try:
            deadline = time.monotonic() + 120.0  # two processes that start on a busy machine: 30 s were seen
            while ward.ledger.state == "committing" and time.monotonic() < deadline:
                time.sleep(0.1)  # the ledger of other processes can only be asked
        finally:
            for role in roles:
                role.terminate()
            assert [role.wait(30) for role in roles] == [0, 0]
    assert ward.ledger.state == "delivered", (tmp_path / "log").read_text()
