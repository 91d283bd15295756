"""Numeric children: what a crash costs, and what running jobs may use."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator

import pytest

from dicom_node.errors import ChildDiedError
from dicom_node.numeric_children import MemoryBudget, NumericChildren


@pytest.fixture(scope="module")
def children() -> Iterator[NumericChildren]:
    made = NumericChildren(children=2, cores_each=1, prepare=time.process_time)
    yield made
    made.close()


def test_children_are_reused_and_give_way_to_the_receiver(children: NumericChildren) -> None:
    pids = {children.run(os.getpid) for _ in range(6)}
    assert len(pids) <= 2
    assert os.getpid() not in pids
    assert children.run(os.nice, 0) == 19


def test_a_job_that_crashes_its_child_loses_only_itself(children: NumericChildren) -> None:
    """os.abort is what a fault in compiled code looks like from outside."""
    beside: list[float] = []
    neighbour = threading.Thread(target=lambda: beside.append(children.run(time.sleep, 0.5) or 0.0))
    neighbour.start()
    with pytest.raises(ChildDiedError, match="abort"):
        children.run(os.abort)
    neighbour.join()
    assert beside == [0.0]
    assert children.run(os.getpid) != os.getpid()


def test_an_error_of_the_job_comes_back_as_it_was(children: NumericChildren) -> None:
    with pytest.raises(FileNotFoundError, match="absent"):
        children.run(os.stat, "absent")


def test_jobs_wait_until_their_memory_is_free() -> None:
    budget = MemoryBudget(1000)
    inside, largest = [0], [0]
    lock = threading.Lock()

    def job() -> None:
        with budget.share(400):
            with lock:
                inside[0] += 1
                largest[0] = max(largest[0], inside[0])
            time.sleep(0.02)
            with lock:
                inside[0] -= 1

    jobs = [threading.Thread(target=job) for _ in range(8)]
    for each in jobs:
        each.start()
    for each in jobs:
        each.join()
    assert largest[0] == 2, "two shares of 400 MB fit into 1,000 MB, a third does not"


def test_a_job_larger_than_the_budget_runs_alone_instead_of_never() -> None:
    budget = MemoryBudget(100)
    with budget.share(5000):
        waiting = threading.Thread(target=lambda: budget.share(1).__enter__())
        waiting.start()
        waiting.join(0.1)
        assert waiting.is_alive()
    waiting.join(5)
    assert not waiting.is_alive()
