"""The roles that a node is made of; each is one process (docs/operations.md).

receiver   associations to the spool, nothing else
worker     assembles acquisitions and measures them in warm children; talks no DICOM
sender     delivers results, asks for earlier ones; computes nothing
web        shows what there is; runs no jobs
"""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from dicom_node import role_locks, service_notify
from dicom_node.audit import trail_of
from dicom_node.config import Settings
from dicom_node.data_folder import DataFolder
from dicom_node.spool import Spool

if TYPE_CHECKING:  # each role imports what it needs: the receiver starts without engine and numeric stack
    from dicom_node import engine

log = structlog.get_logger()

PULSE = service_notify.Pulse()
_OTHER_SENDER_S = 5.0  # how soon another machine's sender takes over the watches of one that is gone
DELIVERIES_AT_ONCE = 4
"""For each destination: enough to hide a slow PACS's latency, few enough for its association limit."""

PRIORS_AT_ONCE = 4
"""Jobs whose earlier results are asked for at the same time; one that waits for a dead PACS holds up no other."""


def run_receiver(settings: Settings, stop: threading.Event) -> None:
    """Receive into the spool until `stop` is set; on the TLS port too where a certificate is configured.

    Raises PortInUseError, ConfigurationError.
    """
    from dicom_node.certificate import keep_renewed
    from dicom_node.receiver import receiver_settings, serve_receiver
    from dicom_node.tls import server_context

    spool = Spool(DataFolder(settings.node.data_dir).spool)
    secured = server_context(settings.security)
    with ExitStack() as ports:
        ports.enter_context(serve_receiver(receiver_settings(settings), spool))
        if secured is not None:
            ports.enter_context(serve_receiver(receiver_settings(settings, secured), spool))
            keep_renewed(secured, settings.security, stop)
        stop.wait()


def run_worker(settings: Settings, stop: threading.Event) -> None:
    """Assemble and measure until `stop` is set."""
    from dicom_node import engine, workflow
    from dicom_node.arrivals import Arrivals, watch
    from dicom_node.contour_arrivals import ContourArrivals
    from dicom_node.jobs import JobBook
    from dicom_node.late_baselines import revise_after_news
    from dicom_node.numeric_children import MemoryBudget, NumericChildren, cores, machine_memory_mb
    from dicom_node.repeatability_table import read_table
    from dicom_node.retention import Keeper
    from dicom_node.site_profiles import check_profiles
    from dicom_node.steering import grant_wishes

    check_profiles(settings)
    read_table(settings.comparison.repeatability)  # a row that is no limit is said now, not at the first comparison
    folder = DataFolder(settings.node.data_dir)
    shutil.rmtree(folder.scratch, ignore_errors=True)
    folder.prepare()
    workers = settings.node.workers or max(1, cores() // 2)
    children = NumericChildren(workers, max(1, cores() // workers))
    memory = MemoryBudget(settings.node.memory_mb or machine_memory_mb() // 2)
    here = workflow.Workplace(settings, folder, JobBook(folder.jobs), children, memory)
    workflow.open_workplace(here)
    spool = Spool(folder.spool)
    queues = [engine.QueueSpec(engine.ANALYSIS_QUEUE, workers)], _queues_of_sender(settings)
    with _engine(settings, "analysis", *queues), role_locks.only_one(folder.assembler_lock) as mine:
        orders = workflow.Orders(here)
        log.info("working", children=workers, assembler=mine)
        if mine:
            keeper = Keeper(settings, spool)
            keeper.tidy_when_due(datetime.now(UTC))  # before anything is assembled: ends what a crash interrupted

            def look_after() -> None:
                grant_wishes(settings)
                revise_after_news(settings, datetime.now(UTC))
                orders.place_unfinished()
                keeper.tidy_when_due(datetime.now(UTC))

            desks = Arrivals(settings, spool, here.jobs), ContourArrivals(settings, spool, here.jobs)
            watch(desks, spool, look_after, stop, PULSE)
        stop.wait()
        children.close()


def run_sender(settings: Settings, stop: threading.Event) -> None:
    """Deliver until `stop` is set."""
    from dicom_node import workflow
    from dicom_node.audit_forwarding import AuditForwarder
    from dicom_node.commitment_keeper import CommitmentKeeper
    from dicom_node.jobs import JobBook
    from dicom_node.second_looks import SecondLooks
    from dicom_node.tls import remote_node

    for destination in settings.destination:
        remote_node(settings, destination)  # TLS that cannot be set up is said now, not at the first result
    folder = DataFolder(settings.node.data_dir)
    folder.prepare()
    workflow.open_workplace(workflow.Workplace(settings, folder, JobBook(folder.jobs)))
    with _engine(settings, "delivery", _queues_of_sender(settings), []), ExitStack() as keepers:
        log.info("sending", destinations=[d.name for d in settings.destination])
        for destination in settings.destination:
            keeper = CommitmentKeeper(settings, destination, workflow.order_delivery)
            lock = folder.roles / f"commitments.{destination.name}.lock"
            keepers.enter_context(_kept(lock, f"commitments of {destination.name}", keeper.watch, stop))
        looks = SecondLooks(settings)
        if looks.wanted:
            keepers.enter_context(_kept(folder.roles / "second_looks.lock", "second looks", looks.watch, stop))
        if settings.audit.syslog_host:
            post = AuditForwarder(settings)
            keepers.enter_context(_in_thread("audit forwarding", lambda: post.watch(stop)))
        stop.wait()


def _queues_of_sender(settings: Settings) -> list[engine.QueueSpec]:
    from dicom_node import engine

    deliveries = [engine.QueueSpec(engine.delivery_queue(d.name), DELIVERIES_AT_ONCE) for d in settings.destination]
    return [*deliveries, engine.QueueSpec(engine.PRIORS_QUEUE, PRIORS_AT_ONCE)]


@contextmanager
def _kept(lock: Path, name: str, watch: Callable[[threading.Event], None], stop: threading.Event) -> Iterator[None]:
    """A thread that keeps watch for as long as no other sender does."""

    def keep() -> None:
        while not stop.is_set():
            with role_locks.only_one(lock) as mine:
                if mine:
                    watch(stop)
            stop.wait(_OTHER_SENDER_S)

    with _in_thread(name, keep):
        yield


@contextmanager
def _in_thread(name: str, work: Callable[[], None]) -> Iterator[None]:
    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    yield
    thread.join(1.0)  # it may wait for a peer; the process ends without it


def run_web(settings: Settings, stop: threading.Event) -> None:
    """Serve the operations page until `stop` is set."""
    from dicom_node.web.server import serve

    serve(settings, stop)


ROLES: dict[str, Callable[[Settings, threading.Event], None]] = {
    "receiver": run_receiver,
    "worker": run_worker,
    "sender": run_sender,
    "web": run_web,
}


def run_role(settings: Settings, role: str) -> None:
    """Run one role in this process until SIGTERM, SIGINT or the end of its supervisor."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    folder = DataFolder(settings.node.data_dir)
    folder.prepare()
    with role_locks.alive(folder.roles, role), service_notify.watched(lambda: _fault(settings, role)):
        trail = trail_of(settings, role)
        trail.started()
        ROLES[role](settings, stop)
        trail.started(ends=True)
    log.info("stopped")
    # The engine's and the web server's daemon threads may still wait on sockets; everything durable is on disk.
    os._exit(0)


def _fault(settings: Settings, role: str) -> str:
    from dicom_node.readiness import role_fault

    return PULSE.fault() or role_fault(settings, role)


@contextmanager
def _engine(
    settings: Settings, role: engine.Role, listen: list[engine.QueueSpec], known: list[engine.QueueSpec]
) -> Iterator[None]:
    from dicom_node import engine

    engine.launch(settings, role, listen, known)
    try:
        yield
    finally:
        engine.stop()
