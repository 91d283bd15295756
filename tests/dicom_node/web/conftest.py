"""The ward's day, served: one node's pages on a free loopback port for all tests of this folder."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from dicom_node import role_locks
from dicom_node.config import Settings
from dicom_node.data_folder import DataFolder
from dicom_node.web.server import listening_socket, serve_on
from tests.dicom_node.web.ward_day import WardDay, ward_day


@dataclass(frozen=True)
class Answer:
    """One HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Pages:
    """A running web role."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, **headers)

    def ask(self, method: str, path: str, body: str = "", **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(
                method, path, body or None, headers={name.replace("_", "-"): text for name, text in headers.items()}
            )
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()


@contextmanager
def served(settings: Settings) -> Iterator[Pages]:
    """Serve the pages as the role does, in a thread of this process."""
    stop = threading.Event()
    with listening_socket("127.0.0.1", 0) as listener:
        # The socket queues connections from now on: the first request waits for the server, no test has to.
        listener.listen()
        thread = threading.Thread(target=serve_on, args=(listener, settings, stop))
        thread.start()
        try:
            yield Pages(listener.getsockname()[1])
        finally:
            stop.set()
            thread.join()


@contextmanager
def all_parts_alive(settings: Settings) -> Iterator[None]:
    """A listening port and living roles: what the probe asks for."""
    roles = DataFolder(settings.node.data_dir).roles
    with (
        socket.create_server((settings.node.host, settings.node.port)),
        role_locks.alive(roles, "worker"),
        role_locks.alive(roles, "sender"),
    ):
        yield


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture(scope="session")
def day(tmp_path_factory: pytest.TempPathFactory) -> WardDay:
    return ward_day(tmp_path_factory.mktemp("ward"), port=free_port())


@pytest.fixture(scope="session")
def pages(day: WardDay) -> Iterator[Pages]:
    with served(day.settings) as running:
        yield running
