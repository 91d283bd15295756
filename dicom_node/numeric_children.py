"""Warm numeric children: processes that keep the numeric stack ready and measure one acquisition at a time.

Importing the numeric stack and loading its kernels takes seconds, so children rehearse at their start and are reused.
Each runs at nice 19 with one share of the cores, and ends when the node ends. A child that crashes loses only its own
job; the slot starts a new one.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

import structlog

from dicom_node.errors import ChildDiedError

log = structlog.get_logger()

P = ParamSpec("P")
R = TypeVar("R")

PR_SET_PDEATHSIG = 1
"""prctl(2): the signal that the kernel sends to this process when the *thread* that spawned it ends."""


def rehearse_a_job() -> float:
    """What a child does first; returns the processor time that it has used, in seconds."""
    from dicom_node.warming import rehearse

    rehearse()
    return time.process_time()


class NumericChildren:
    """A fixed number of warm children. `run` blocks its caller until one is free and has answered.

    `prepare` is called in each child before its first job; what it returns is the processor time it took, in seconds.
    """

    def __init__(self, children: int, cores_each: int, prepare: Callable[[], float] = rehearse_a_job) -> None:
        self._cores_each = cores_each
        self._prepare = prepare
        self._free: queue.Queue[_Child] = queue.Queue()
        # PR_SET_PDEATHSIG is tied to the spawning thread, so one thread that lives as long as the node spawns them all.
        self._orders: queue.Queue[Callable[[], None] | None] = queue.Queue()
        self._spawner = threading.Thread(target=self._spawn_forever, name="children", daemon=True)
        self._spawner.start()
        for _ in range(children):
            self._free.put(self._start())

    def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a module-level function in a child. Raises what it raises, or ChildDiedError when the child died."""
        child = self._free.get()
        try:
            return child.pool.submit(function, *args, **kwargs).result()
        except BrokenProcessPool as error:
            child = self._start()
            raise ChildDiedError(f"the process that ran {function.__name__} died (crash or out of memory)") from error
        finally:
            self._free.put(child)

    def close(self) -> None:
        """End the free children at once; busy ones end with this process."""
        while True:
            try:
                child = self._free.get_nowait()
            except queue.Empty:
                break
            child.end()
        self._orders.put(None)

    def _start(self) -> _Child:
        started: Future[_Child] = Future()
        self._orders.put(lambda: started.set_result(_Child(self._cores_each, self._prepare)))
        return started.result()

    def _spawn_forever(self) -> None:
        while (order := self._orders.get()) is not None:
            order()


class _Child:
    """One child process behind a pool of its own: a crash breaks this pool and no other."""

    def __init__(self, cores: int, prepare: Callable[[], float]) -> None:
        context = multiprocessing.get_context("spawn")
        self.pool = ProcessPoolExecutor(1, mp_context=context, initializer=_settle_in, initargs=(os.getpid(), cores))
        others = set(multiprocessing.active_children())
        self.pool.submit(prepare).add_done_callback(_tell)
        self._processes = set(multiprocessing.active_children()) - others

    def end(self) -> None:
        """End it at once, in the middle of its rehearsal too; the pool then gives its semaphores back."""
        for process in self._processes:
            process.kill()
        self.pool.shutdown(wait=True, cancel_futures=True)


class MemoryBudget:
    """The sum of memory that running jobs have stated; a job waits until its share is free."""

    def __init__(self, total_mb: int) -> None:
        self._total_mb = total_mb
        self._used_mb = 0
        self._changed = threading.Condition()

    @contextmanager
    def share(self, wanted_mb: int) -> Iterator[None]:
        """Hold `wanted_mb` for the block. A job larger than the whole budget runs alone."""
        wanted_mb = min(wanted_mb, self._total_mb)
        with self._changed:
            self._changed.wait_for(lambda: self._used_mb + wanted_mb <= self._total_mb)
            self._used_mb += wanted_mb
        try:
            yield
        finally:
            with self._changed:
                self._used_mb -= wanted_mb
                self._changed.notify_all()


def _settle_in(parent: int, cores: int) -> None:
    """Runs first in a child: die with the parent, give way to the receiver, keep to the cores allotted."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the signal was armed
        os._exit(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the supervisor decides when a job ends
    os.setpriority(os.PRIO_PROCESS, 0, 19)
    # Read by numba and the BLAS libraries when they are first imported, which has not happened yet in this process.
    for variable in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = str(cores)


def _tell(rehearsal: Future[float]) -> None:
    """A rehearsal that fails loses no job (each says itself what it meets), but somebody should know."""
    if rehearsal.cancelled() or isinstance(rehearsal.exception(), BrokenProcessPool):
        return  # the node ends, or the job that broke the child has said so
    if (error := rehearsal.exception()) is not None:
        log.error("a child's rehearsal failed: the first job will be slow", reason=repr(error))
    else:
        log.info("child is warm", cpu_s=round(rehearsal.result(), 1))


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0))


def machine_memory_mb() -> int:
    """Physical memory of the machine."""
    return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20)
