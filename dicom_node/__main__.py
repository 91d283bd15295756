"""`python -m dicom_node`: the command `ceus-node`, as the supervisor starts its roles."""

from __future__ import annotations

from dicom_node.cli import main

if __name__ == "__main__":  # children of multiprocessing's spawn import this module again
    main()
