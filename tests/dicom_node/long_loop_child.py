"""Child of test_cine_memory: takes the cine named by its argument under a hard limit of memory, the panel in a file.

Prints frames taken and the peak of anonymous memory in MB: what the kernel cannot write back. RLIMIT_DATA ends the
process where private memory grows beyond the limit; shared file mappings do not count.
"""

from __future__ import annotations

import resource
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dicom_node.cine_reader import open_cine
from processing.cine import DisplayProfile
from processing.intake import examine, take_cine


def anonymous_mb() -> float:
    return int(Path("/proc/self/status").read_text().split("RssAnon:")[1].split()[0]) / 1024


def main() -> None:
    path, limit_mb = Path(sys.argv[1]), int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_DATA, (limit_mb << 20, limit_mb << 20))

    def in_a_file(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        place = path.with_suffix(f".{np.dtype(dtype).name}")
        return np.memmap(place, dtype, "w+", shape=shape)

    peak_mb, done = [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            peak_mb[0] = max(peak_mb[0], anonymous_mb())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        source = open_cine(path)
        taken = take_cine(source, examine(source, DisplayProfile(dynamic_range_db=50.0)), in_a_file)
    finally:
        done.set()
        watcher.join()
    print(f"{len(taken.cine.contrast)} {peak_mb[0]:.0f} {taken.cine.contrast.nbytes / 2**20:.0f}")


if __name__ == "__main__":
    main()
