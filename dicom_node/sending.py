"""Files to a destination, with one named outcome each; C-ECHO; what a destination takes. Network only, no workflow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_context
from pynetdicom.dsutils import split_dataset
from pynetdicom.presentation import PresentationContext

from dicom_node.errors import UnreachableError
from dicom_node.status import Status, describe, is_stored, is_transient
from dicom_node.transport.association import NodeAssociation
from dicom_node.transport.requestor import OutgoingFile, RemoteNode, Timeouts, associate, store_file

VERIFICATION = "1.2.840.10008.1.1"
_PLAIN = (str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian), str(ExplicitVRBigEndian))
_MOST_CONTEXTS = 128  # odd context IDs of one byte (PS3.8 9.3.2.2)


class Verdict(StrEnum):
    """What became of one object, or of a ping."""

    STORED = "stored"
    STORED_WITH_WARNING = "stored with a warning"
    DUPLICATE = "duplicate"  # 0x0111: success only for the very file that holds this UID
    REFUSED = "refused"
    OUT_OF_RESOURCES = "out of resources"
    NOT_NEGOTIATED = "not negotiated"  # the destination does not take this class in an encoding we can make
    UNREACHABLE = "unreachable"
    REJECTED = "association rejected"
    LOST = "no answer"  # the peer may hold the object: it is sent again
    UNREADABLE = "file unreadable"


_RETRIED = {Verdict.OUT_OF_RESOURCES, Verdict.UNREACHABLE, Verdict.REJECTED, Verdict.LOST}


@dataclass(frozen=True)
class SendOutcome:
    """One object's outcome; `text` says why, for the page and the log."""

    verdict: Verdict
    status: int | None
    text: str

    @property
    def delivered(self) -> bool:
        """Whether the peer holds the object."""
        return self.verdict in (Verdict.STORED, Verdict.STORED_WITH_WARNING, Verdict.DUPLICATE)

    @property
    def worth_retrying(self) -> bool:
        """Whether the same file may be taken later without anybody changing anything."""
        return self.verdict in _RETRIED


def echo(remote: RemoteNode, calling_ae_title: str, timeouts: Timeouts | None = None) -> SendOutcome:
    """C-ECHO: whether the peer answers under the titles that are configured."""
    try:
        assoc = open_association(remote, calling_ae_title, [build_context(VERIFICATION)], timeouts or Timeouts())
    except NoAssociationError as error:
        return error.outcome
    try:
        status = assoc.send_c_echo().get("Status")
    finally:
        assoc.release()
    return outcome_of_status(status)


def negotiate(
    remote: RemoteNode, calling_ae_title: str, sop_classes: Iterable[str], timeouts: Timeouts | None = None
) -> dict[str, bool]:
    """Which object classes the peer takes from us, uncompressed. Nothing is sent.

    Raises UnreachableError where it does not talk to us at all.
    """
    wanted = list(dict.fromkeys(sop_classes))
    taken: dict[str, bool] = {}
    for start in range(0, len(wanted), _MOST_CONTEXTS):
        some = wanted[start : start + _MOST_CONTEXTS]
        contexts = [build_context(uid, [ExplicitVRLittleEndian, ImplicitVRLittleEndian]) for uid in some]
        try:
            assoc = open_association(remote, calling_ae_title, contexts, timeouts or Timeouts())
        except NoAssociationError as error:
            if error.outcome.verdict is not Verdict.NOT_NEGOTIATED:
                raise UnreachableError(error.outcome.text) from error
            taken.update(dict.fromkeys(some, False))
            continue
        accepted = {str(context.abstract_syntax) for context in assoc.accepted_contexts}
        assoc.release()
        taken.update({uid: uid in accepted for uid in some})
    return taken


def send_files(
    remote: RemoteNode, calling_ae_title: str, paths: Iterable[Path], timeouts: Timeouts | None = None
) -> Iterator[tuple[Path, SendOutcome]]:
    """C-STORE files as they are, in order, over as few associations as possible: one outcome a path, always.

    A broken association costs the object that was under way; the next one gets a new association.
    """
    outgoing = [(path, _look_at(path)) for path in paths]
    files = [file for _, file in outgoing if isinstance(file, OutgoingFile)]
    session = _Session(remote, calling_ae_title, _contexts_for(files), timeouts or Timeouts())
    try:
        for path, file in outgoing:
            yield path, file if isinstance(file, SendOutcome) else session.send(file)
    finally:
        session.close()


class NoAssociationError(Exception):
    """The peer gives us no association; `outcome` says why, as one of an object would."""

    def __init__(self, verdict: Verdict, text: str) -> None:
        super().__init__(text)
        self.outcome = SendOutcome(verdict, None, text)


class _Session:
    """One association at a time to one peer, opened when it is needed."""

    def __init__(
        self, remote: RemoteNode, calling: str, contexts: Sequence[tuple[str, str]], timeouts: Timeouts
    ) -> None:
        self._remote, self._calling, self._timeouts = remote, calling, timeouts
        self._contexts = contexts
        self._assoc: NodeAssociation | None = None
        self._message_id = 0
        self._no_association: SendOutcome | None = None

    def send(self, file: OutgoingFile) -> SendOutcome:
        if self._no_association is not None:
            return self._no_association
        try:
            assoc = self._association()
        except NoAssociationError as error:
            self._no_association = error.outcome  # a peer that is down is asked once, not once an object
            return error.outcome
        accepted = {
            str(context.transfer_syntax[0]): context.context_id
            for context in assoc.accepted_contexts
            if context.abstract_syntax == file.sop_class_uid
        }
        self._message_id = self._message_id % 0xFFFF + 1
        try:
            if file.transfer_syntax_uid in accepted:
                status = store_file(assoc, file, accepted[file.transfer_syntax_uid], self._message_id)
            elif file.transfer_syntax_uid in _PLAIN and set(accepted) & set(_PLAIN):
                status = assoc.send_c_store(dcmread(file.path), msg_id=self._message_id).get("Status")
            else:
                return _not_negotiated(self._remote, file, accepted)
        except (OSError, RuntimeError, ValueError) as error:
            self.close()
            return SendOutcome(Verdict.LOST, None, f"{self._remote.ae_title}: {error}")
        if status is None:
            self.close()
        return outcome_of_status(status)

    def close(self) -> None:
        """Release what is left of the association."""
        assoc, self._assoc = self._assoc, None
        if assoc is None:
            return
        if assoc.is_established and assoc.dimse.msg_queue.empty():
            assoc.release()
        assoc.abort()  # does nothing after a release

    def _association(self) -> NodeAssociation:
        if self._assoc is None or not self._assoc.is_established:
            contexts = [build_context(uid, syntax) for uid, syntax in self._contexts]
            self._assoc = open_association(self._remote, self._calling, contexts, self._timeouts)
        return self._assoc


def open_association(
    remote: RemoteNode, calling: str, contexts: Sequence[PresentationContext], timeouts: Timeouts
) -> NodeAssociation:
    where = f"{remote.ae_title} at {remote.host}:{remote.port}"
    try:
        assoc = associate(remote, calling, contexts, timeouts)
    except OSError as error:
        raise NoAssociationError(Verdict.UNREACHABLE, f"{where} has no address: {error}") from error
    if assoc.is_established:
        return assoc
    answer = assoc.acceptor.primitive
    if assoc.is_rejected and answer is not None:
        raise NoAssociationError(Verdict.REJECTED, f"{where} rejects {calling}: {answer.reason_str}")
    if answer is not None and answer.result == 0 and not assoc.accepted_contexts:
        raise NoAssociationError(Verdict.NOT_NEGOTIATED, f"{where} takes none of the object classes offered")
    raise NoAssociationError(Verdict.UNREACHABLE, f"{where} cannot be reached or does not answer")


def _look_at(path: Path) -> OutgoingFile | SendOutcome:
    try:
        meta, offset = split_dataset(path)
        keywords = ("MediaStorageSOPClassUID", "MediaStorageSOPInstanceUID", "TransferSyntaxUID")
        values = [str(meta[keyword].value) for keyword in keywords]
    except (OSError, LookupError, ValueError, TypeError, AttributeError, InvalidDicomError) as error:
        return SendOutcome(Verdict.UNREADABLE, None, f"{path.name}: {type(error).__name__}: {error}")
    return OutgoingFile(path, offset, *values)


def _contexts_for(files: Iterable[OutgoingFile]) -> list[tuple[str, str]]:
    """One context for each class and encoding; for plain ones Implicit Little Endian too (PS3.5 10.1)."""
    pairs: dict[tuple[str, str], None] = {}
    for file in files:
        pairs[file.sop_class_uid, file.transfer_syntax_uid] = None
        if file.transfer_syntax_uid in _PLAIN:
            pairs[file.sop_class_uid, str(ImplicitVRLittleEndian)] = None
    return list(pairs)[:_MOST_CONTEXTS]


def _not_negotiated(remote: RemoteNode, file: OutgoingFile, accepted: dict[str, int]) -> SendOutcome:
    what = "in this encoding" if accepted else "at all"
    text = f"{remote.ae_title} does not take SOP class {file.sop_class_uid} {what}"
    return SendOutcome(Verdict.NOT_NEGOTIATED, int(Status.SOP_CLASS_NOT_SUPPORTED), text)


def outcome_of_status(status: int | None) -> SendOutcome:
    if status is None:
        return SendOutcome(Verdict.LOST, None, "the peer closed the association or did not answer in time")
    verdict = Verdict.REFUSED
    if status == Status.SUCCESS:
        verdict = Verdict.STORED
    elif is_stored(status):
        verdict = Verdict.STORED_WITH_WARNING
    elif status == Status.DUPLICATE_INSTANCE:
        verdict = Verdict.DUPLICATE
    elif is_transient(status):
        verdict = Verdict.OUT_OF_RESOURCES
    return SendOutcome(verdict, status, describe(status))
