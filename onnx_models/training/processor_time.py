"""What a recipe costs: processor seconds of each stage, kept beside what the stage made.

What lies in a work folder is not made again, so the time of a release is the sum over all runs that filled that folder.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

TIMES = "processor_time.jsonl"
ASIDE = "aside: "
"""How the names of stages begin that are measured and go into no shipped file."""


@contextmanager
def stage(folder: Path, name: str) -> Iterator[None]:
    """Add the processor time of all threads of this process, within the block, to `folder`'s account of `name`."""
    begun_s = time.process_time()
    yield
    spent_s = round(time.process_time() - begun_s, 1)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / TIMES).open("a") as account:
        account.write(json.dumps({"stage": name, "processor_s": spent_s}) + "\n")


def minutes_by_stage(folder: Path) -> dict[str, float]:
    """Minutes of one core that each stage took: all accounts in `folder` and beneath it."""
    spent: dict[str, float] = {}
    for account in sorted(folder.rglob(TIMES)):
        for line in account.read_text().splitlines():
            entry = json.loads(line)
            spent[entry["stage"]] = spent.get(entry["stage"], 0.0) + entry["processor_s"] / 60
    return spent


def time_rows(folder: Path) -> list[dict[str, Any]]:
    """Lines of the card: what the shipped file cost by stage and in all, on this machine as busy as it was."""
    shipped = {name: minutes for name, minutes in minutes_by_stage(folder).items() if not name.startswith(ASIDE)}
    rows = [{"what": f"processor minutes, {name}", "value": round(minutes, 1)} for name, minutes in shipped.items()]
    return [*rows, {"what": "processor minutes of one core, in all", "value": round(sum(shipped.values()), 1)}]
