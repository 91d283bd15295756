"""Side-by-side measurements against named peers: `python -m benchmarks [NAME ...]` runs all, or those named.

Every module of this folder with a `main` is a benchmark and prints its own table. Each runs in a process of its own, so
that no warm cache, thread pool or memory of one shows in the next, and one that fails ends only itself.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path


def main() -> None:
    """Run what was asked for; exit 1 where any failed."""
    folder = Path(__file__).parent
    there = sorted(path.stem for path in folder.glob("[a-z]*.py"))
    wanted = sys.argv[1:] or there
    if unknown := sorted(set(wanted) - set(there)):
        sys.exit(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(there)}")
    if len(wanted) == 1:
        _run(wanted[0])
        return
    failed = [
        name
        for name in wanted
        if subprocess.run([sys.executable, "-m", "benchmarks", name], check=False, cwd=folder.parent).returncode
    ]
    if failed:
        sys.exit(f"\nfailed: {', '.join(failed)}")


def _run(name: str) -> None:
    print(f"\n== {name}", flush=True)
    try:
        benchmark = importlib.import_module(f"benchmarks.{name}")
    except ModuleNotFoundError as error:
        sys.exit(f"{error.name} is not installed here: the peers of this benchmark are the dependency group `bench`")
    benchmark.main()


if __name__ == "__main__":
    main()
