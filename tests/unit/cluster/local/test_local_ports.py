from __future__ import annotations

import os
import socket

import pytest

from cluster.local.ports import (
    PortNeed,
    PortTakenError,
    check_ports,
    free_port,
    is_free,
    split_address,
    taken,
)
from pipelines.errors import ConfigError


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("ws://127.0.0.1:7880", ("127.0.0.1", 7880)),
        ("rtsp://user:p%40ss@cam.example/a", ("cam.example", 99)),
        ("redis://:secret@[::1]:6390/0", ("::1", 6390)),
    ],
)
def test_an_address_is_taken_out_of_a_url(url: str, expected: tuple[str, int]) -> None:
    assert split_address(url, 99) == expected


@pytest.mark.parametrize("url", ["", "127.0.0.1:80", "ws://host:notaport", "ws://host:99999"])
def test_an_invalid_url_is_rejected(url: str) -> None:
    with pytest.raises(ConfigError, match="not a URL with a host"):
        split_address(url, 99)


def test_a_taken_port_is_named_with_its_holder_and_a_remedy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        need = PortNeed("the API", "127.0.0.1", port, "ATALAIA_API__PORT={port}")
        assert not is_free("127.0.0.1", port)
        assert taken([need]) == [need]
        with pytest.raises(PortTakenError) as caught:
            check_ports([need])
    message = caught.value.message
    assert f"port {port}/tcp for the API" in message
    assert f"process {os.getpid()}" in message
    assert "set ATALAIA_API__PORT=" in message


def test_a_udp_port_is_looked_at_as_udp() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        assert not is_free("127.0.0.1", port, "udp")


def test_one_port_for_two_purposes_is_refused() -> None:
    port = free_port()
    needs = [
        PortNeed("the API", "127.0.0.1", port, "A={port}"),
        PortNeed("LiveKit", "127.0.0.1", port, "B={port}"),
    ]
    with pytest.raises(PortTakenError, match="for the API and for LiveKit"):
        check_ports(needs)


def test_a_port_that_was_just_left_is_free() -> None:
    """Connections in TIME_WAIT must not prevent a restart."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = server.accept()
        accepted.close()  # this side waits: TIME_WAIT stays with the port
        client.close()
    assert is_free("127.0.0.1", port)
