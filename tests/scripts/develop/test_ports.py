"""Ports are given once, to whoever asks first."""

import socket
from pathlib import Path

import pytest

from develop.ports import free_port


def test_port_is_free_for_a_server_and_for_no_other_reservation() -> None:
    port = free_port()
    with socket.socket() as another, pytest.raises(OSError, match="in use"):
        another.bind(("127.0.0.1", port))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    for _ in range(2):  # and again, when the first is gone
        with (
            socket.create_server(("127.0.0.1", port)) as server,
            socket.create_connection(("127.0.0.1", port)) as client,
        ):
            server.accept()[0].close()
            assert client.recv(1) == b""


def test_reservations_are_bounded() -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    ports = [free_port() for _ in range(100)]
    before = descriptors()
    assert len(set(ports)) == 100
    for _ in range(100):
        free_port()
    assert descriptors() == before
