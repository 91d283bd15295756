"""Processor time of each test: wall time says little on a machine that others use, and the suite has a budget."""

from __future__ import annotations

import resource
from collections.abc import Generator

import pytest

SHOWN = 20
BUDGET_S = 1800.0  # house.md 16: `make test` within 15 minutes on 2 cores


def _processor_s() -> float:
    """Of this process and of every child that has ended: nodes, peers, compilers."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    item.stash[_BEGAN] = _processor_s()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "teardown":
        report.user_properties.append(("processor_s", _processor_s() - item.stash[_BEGAN]))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    spent = [
        (seconds, report.nodeid)
        for reports in terminalreporter.stats.values()
        for report in reports
        for name, seconds in getattr(report, "user_properties", ())
        if name == "processor_s"
    ]
    if not spent:
        return
    terminalreporter.section(f"processor time: {sum(s for s, _ in spent):.0f} s in all of {BUDGET_S:.0f} s")
    for seconds, name in sorted(spent, reverse=True)[:SHOWN]:
        terminalreporter.line(f"{seconds:8.1f} s  {name}")


_BEGAN = pytest.StashKey[float]()
