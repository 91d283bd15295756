"""Readiness: each part asked for real, each failure named."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from dicom_node import engine, readiness, role_locks
from dicom_node.config import Settings, load_settings
from dicom_node.data_folder import DataFolder
from dicom_node.readiness import Part, probe


def node(folder: Path, **sections: object) -> Settings:
    DataFolder(folder).prepare()
    return load_settings(None, **{"node": {"data_dir": folder, "port": 1}, **sections})


def part(settings: Settings, name: str) -> Part:
    return next(part for part in probe(settings).parts if part.name == name)


def make_database(settings: Settings) -> Path:
    file = engine.engine_file(settings)
    assert file is not None
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("CREATE TABLE t (x)")
    return file


def test_a_database_that_takes_writes_is_ready(tmp_path: Path) -> None:
    settings = node(tmp_path)
    make_database(settings)
    assert part(settings, "database").ready


def test_a_database_locked_for_good_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "PROBE_TIMEOUT_S", 0.05)
    settings = node(tmp_path)
    with closing(sqlite3.connect(make_database(settings), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        found = part(settings, "database")
    assert not found.ready
    assert "locked" in found.text


def test_a_file_that_is_no_database_is_not(tmp_path: Path) -> None:
    settings = node(tmp_path)
    file = engine.engine_file(settings)
    assert file is not None
    file.write_bytes(b"no database at all" * 100)
    found = part(settings, "database")
    assert not found.ready
    assert "not a database" in found.text


def test_a_server_that_does_not_answer_is_named(tmp_path: Path) -> None:
    settings = node(tmp_path, database={"url": "postgresql://nobody@127.0.0.1:1/none"})
    found = part(settings, "database")
    assert not found.ready
    assert "refused" in found.text


def test_a_spool_that_takes_no_files_is_named(tmp_path: Path) -> None:
    """A file where the folder should be: the one fault that root (who runs containers) sees like everybody else."""
    settings = node(tmp_path)
    spool = DataFolder(tmp_path).spool
    spool.rmdir()
    spool.write_text("in the way")
    found = part(settings, "spool")
    assert not found.ready
    assert str(spool) in found.text


def test_the_probe_leaves_nothing_in_the_spool(tmp_path: Path) -> None:
    settings = node(tmp_path)
    probe(settings)
    assert list(DataFolder(tmp_path).spool.iterdir()) == []


def test_a_disk_below_its_limit_is_named_with_the_limit(tmp_path: Path) -> None:
    more_than_there_is_mb = shutil.disk_usage(tmp_path).total // 2**20 + 1
    settings = node(tmp_path, retention={"min_free_mb": more_than_there_is_mb})
    found = part(settings, "disk")
    assert not found.ready
    assert f"min_free_mb = {more_than_there_is_mb}" in found.text


def test_the_sender_is_asked_for_only_where_there_is_something_to_send_to(tmp_path: Path) -> None:
    assert "sender" not in [part.name for part in probe(node(tmp_path)).parts]


def test_a_role_lives_as_long_as_its_process_and_not_after_a_kill(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from dicom_node import role_locks\n"
        "with role_locks.alive(Path(sys.argv[1]), 'worker'):\n print('up', flush=True); sys.stdin.read()"
    )
    assert not role_locks.lives(tmp_path, "worker")
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as role:
        assert role.stdout is not None
        assert role.stdout.readline() == b"up\n"
        with role_locks.alive(tmp_path, "worker"):  # a second one of the same role, as with several receivers
            assert role_locks.lives(tmp_path, "worker")
        assert role_locks.lives(tmp_path, "worker")
        role.kill()
        role.wait()
    assert not role_locks.lives(tmp_path, "worker")
