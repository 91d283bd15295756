"""`ceus-node check`: what would keep this node from working, a line each."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from dicom_node.certificate import RENEW_BEFORE, holds_until
from dicom_node.commitments import PUSH_MODEL
from dicom_node.config import DestinationSettings, Settings
from dicom_node.data_folder import DataFolder
from dicom_node.errors import ConfigurationError, NetworkError
from dicom_node.model_room import models_for
from dicom_node.moving import move
from dicom_node.retrieving import PacsCall, WantedInstances
from dicom_node.sending import echo, negotiate
from dicom_node.site_profiles import check_profiles
from dicom_node.tls import remote_node, server_context
from dicom_node.transport.requestor import RemoteNode
from reports.object_classes import classes_of

_RETRIEVE = {
    "C-GET": StudyRootQueryRetrieveInformationModelGet,
    "C-MOVE": StudyRootQueryRetrieveInformationModelMove,
}
MOVE_CHECK_S = 20.0
_NOTHING = WantedInstances("2.25.0", "2.25.0", (), ("2.25.0",))
"""An object that nobody has: some PACS look at the move destination first, and say that they do not know it."""


@dataclass(frozen=True)
class CheckResult:
    """One line of the check."""

    passed: bool
    text: str


def run_checks(settings: Settings) -> Iterator[CheckResult]:
    """Check disk, scanners, every destination, certificates and models, as the configuration has them."""
    yield CheckResult(True, f"configuration: {settings.node.ae_title} on port {settings.node.port}")
    yield _profiles(settings)
    yield _disk(settings)
    if settings.security.require_known_peers and not settings.scanner:
        yield CheckResult(False, "scanners: none is configured, so nothing would ever start a job")
    else:
        yield CheckResult(True, f"scanners: {', '.join(s.ae_title for s in settings.scanner) or 'any peer'}")
    if not settings.destination:
        yield CheckResult(False, "destinations: none is configured, so results would stay on this node")
    for destination in settings.destination:
        yield from _destination(settings, destination)
    yield _certificates(settings)
    yield from _models(settings)


def _models(settings: Settings) -> Iterator[CheckResult]:
    """Each model that would be used, with its checks done anew. A task without any, or switched off, is no failure; a
    version that was pinned or approved and cannot be used is one."""
    for row in models_for(settings).list():
        name = f"{row.identity.id} {row.identity.version}".strip()
        said = f"{row.role}, {row.sentence}" if row.state == "ok" else f"{row.state}: {row.sentence}"
        yield CheckResult(row.state == "ok" or not row.identity.version, f"model {name}: {said}")


def _certificates(settings: Settings) -> CheckResult:
    port = settings.security.tls_port
    try:
        server_context(settings.security)
        end = holds_until(settings.security)
    except ConfigurationError as error:
        return CheckResult(False, f"TLS: {error}")
    if end is None:
        return CheckResult(True, "TLS: no certificate is configured, so no TLS port")
    left = end - datetime.now(UTC)
    text = f"TLS: port {port}, certificate holds until {end:%Y-%m-%d}"
    if left < RENEW_BEFORE:
        return CheckResult(False, f"{text}: {left.days} days, renew it now")
    return CheckResult(True, text)


def _profiles(settings: Settings) -> CheckResult:
    try:
        check_profiles(settings)
    except ConfigurationError as error:
        return CheckResult(False, f"profiles: {error}")
    return CheckResult(True, f"profiles: {', '.join(settings.profile) or 'none, so amplitudes stay undeclared'}")


def _disk(settings: Settings) -> CheckResult:
    folder = settings.node.data_dir
    try:
        DataFolder(folder).prepare()
    except ConfigurationError as error:
        return CheckResult(False, f"disk: {error}")
    free_mb = shutil.disk_usage(folder).free // 2**20
    enough = free_mb > settings.retention.min_free_mb
    wanted = f", [retention] min_free_mb = {settings.retention.min_free_mb}"
    return CheckResult(enough, f"disk: {folder} is writable, {free_mb} MB free{'' if enough else wanted}")


def _commitment(settings: Settings, remote: RemoteNode, where: str) -> CheckResult:
    try:
        offered = negotiate(remote, settings.node.ae_title, [PUSH_MODEL])[PUSH_MODEL]
    except NetworkError as error:
        return CheckResult(False, f"{where}: {error}")
    return CheckResult(offered, f"{where} {'offers' if offered else 'does NOT offer'} Storage Commitment")


def _priors(settings: Settings, destination: DestinationSettings, remote: RemoteNode, where: str) -> CheckResult:
    """Whether it can be asked for earlier results; for C-MOVE also whether it says that it does not know this node."""
    find = StudyRootQueryRetrieveInformationModelFind
    name, other = ("C-MOVE", "C-GET") if destination.retrieve == "move" else ("C-GET", "C-MOVE")
    try:
        offered = negotiate(remote, settings.node.ae_title, [find, *_RETRIEVE.values()])
        works = offered[find] and offered[_RETRIEVE[name]]
        call = PacsCall(remote, settings.node.ae_title, MOVE_CHECK_S)
        unknown = works and destination.retrieve == "move" and move(call, _NOTHING).destination_unknown
    except NetworkError as error:
        return CheckResult(False, f"{where}: {error}")
    if unknown:
        return CheckResult(False, f"{where} does not know {settings.node.ae_title} as a move destination")
    if works:
        return CheckResult(True, f"{where} offers C-FIND and {name}, for earlier results")
    hint = f"; it does offer {other}" if offered[find] and offered[_RETRIEVE[other]] else ""
    return CheckResult(
        False, f"{where} does NOT offer C-FIND and {name}, for earlier results ([[destination]] priors){hint}"
    )


def _destination(settings: Settings, destination: DestinationSettings) -> Iterator[CheckResult]:
    try:
        remote = remote_node(settings, destination)
    except ConfigurationError as error:
        yield CheckResult(False, f"{destination.name}: {error}")
        return
    where = f"{destination.name} ({destination.ae_title} at {destination.host}:{destination.port})"
    outcome = echo(remote, settings.node.ae_title)
    yield CheckResult(outcome.delivered, f"C-ECHO {where}: {outcome.text}")
    if not outcome.delivered:
        return
    if destination.storage_commitment:
        yield _commitment(settings, remote, where)
    if destination.priors and not destination.dicomweb_url:
        yield _priors(settings, destination, remote, where)
    for kind in destination.objects:
        classes = classes_of(kind, settings.report.sr_class)
        try:
            taken = negotiate(remote, settings.node.ae_title, classes.values())
        except NetworkError as error:
            yield CheckResult(False, f"{where}: {error}")
            return
        for name, uid in classes.items():
            word = "takes" if taken[uid] else "does NOT take"
            yield CheckResult(taken[uid], f"{where} {word} {kind.upper()} ({name})")
