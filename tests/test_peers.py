"""The rig itself: a real Orthanc starts, takes a file from a real storescu, and comes back with it after a restart."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import examples

from tests.peers import Orthanc, echoscu, storescu


@pytest.mark.peers
def test_a_pacs_that_was_down_comes_back_on_the_same_port_with_what_it_had(tmp_path: Path) -> None:
    cine = tmp_path / "cine.dcm"
    examples.ct.save_as(cine)
    with Orthanc(tmp_path) as pacs:
        sent = storescu([cine], pacs.dicom_port, called=pacs.ae_title)
        assert sent.returncode == 0, sent.stderr
        pacs.stop()
        assert echoscu(pacs.dicom_port, called=pacs.ae_title).returncode != 0
        pacs.start()
        assert echoscu(pacs.dicom_port, called=pacs.ae_title).returncode == 0
        (stored,) = pacs.instances("CT")
        assert stored["SOPInstanceUID"] == examples.ct.SOPInstanceUID
        assert pacs.file(stored["id"])[128:132] == b"DICM"
