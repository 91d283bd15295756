"""Child of test_cine_damaged: opens the files named on stdin, one a line, and answers with the outcome.

A child, because a decoder library that dies must be seen as a death and not end the test run.
"""

from __future__ import annotations

import sys
import time
import warnings
from pathlib import Path

from dicom_node.cine_reader import open_cine
from dicom_node.errors import UnreadableCineError


def outcome(path: Path) -> str:
    """`read`, or the code of the named refusal."""
    try:
        cine = open_cine(path)
        for _ in cine.blocks():
            pass
    except UnreadableCineError as refusal:
        return refusal.code
    return "read"


def main() -> None:
    warnings.simplefilter("ignore")
    for line in sys.stdin:
        started = time.process_time()  # of the CPU: a busy machine is no finding
        said = outcome(Path(line.strip()))
        # The high-water mark of this process image; ru_maxrss would carry the parent's over.
        peak_mb = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
        print(f"{said} {time.process_time() - started:.3f} {peak_mb:.0f}", flush=True)


if __name__ == "__main__":
    main()
