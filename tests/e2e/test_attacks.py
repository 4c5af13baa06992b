"""A tenant's key, used against the running demo: the attacks that once worked, and their kin."""

from __future__ import annotations

import socket
from pathlib import Path
from urllib.parse import quote, urlsplit

import psutil
import pytest

from tests.e2e.conftest import Demo


def _processes(demo: Demo, name: str) -> list[psutil.Process]:
    return [p for p in demo.process.children(recursive=True) if p.name() == name]


def _listens(demo: Demo, name: str) -> set[tuple[str, int]]:
    """Where the processes of that name accept TCP connections."""
    return {
        (connection.laddr.ip, connection.laddr.port)
        for process in _processes(demo, name)
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }


def test_no_address_of_a_camera_opens_the_machine(demo: Demo, tmp_path: Path) -> None:
    marker = tmp_path / "pwned"
    command = quote(f"exec:'sh''-c''id>{marker}'", safe="")
    rtsp = urlsplit(demo.rtsp).port
    api = urlsplit(demo.api).port
    urls = [
        f"http://127.0.0.1:1984/api/stream.mp4?src={command}",
        f"http://127.0.0.1:{rtsp}/api/stream.mp4?name=globex.yard&src={command}",
        f"rtsp://[::ffff:127.0.0.1]:{rtsp}/globex.yard",
        f"rtsp://localhost.:{rtsp}/globex.yard",
        f"rtsp://2130706433:{rtsp}/globex.yard",
        f"http://0x7f.1:{api}/metrics",
        f"http://127.0.0.1:{demo.shell['ATALAIA_RAY__DASHBOARD_PORT']}/",
        "http://169.254.169.254/",
    ]
    with demo.client("acme") as client:
        for url in urls:
            for body in (
                {"id": "spy", "url": url},
                {"id": "spy", "url": "rtsp://10.0.0.5/", "substream_url": url},
            ):
                answer = client.post("/v1/cameras", json=body)
                assert answer.status_code == 422, (url, answer.text)
                assert "may not have this address" in answer.json()["detail"]
            assert client.patch("/v1/cameras/gate", json={"url": url}).status_code == 422
    assert not marker.exists()


def test_the_gateway_listens_where_it_must_and_knows_no_names(demo: Demo) -> None:
    rtsp = urlsplit(demo.rtsp).port
    assert _listens(demo, "go2rtc") == {("127.0.0.1", rtsp)}
    with demo.client("globex") as client:
        cameras = [camera["id"] for camera in client.get("/v1/cameras").json()["cameras"]]
    assert cameras
    for camera in cameras:
        for name in (f"globex.{camera}", f"globex.{camera}.sub", f"globex%2E{camera}"):
            with socket.create_connection(("127.0.0.1", rtsp or 0), 5) as connection:
                url = f"rtsp://127.0.0.1:{rtsp}/{name}"
                connection.sendall(f"DESCRIBE {url} RTSP/1.0\r\nCSeq: 1\r\n\r\n".encode())
                assert b" 200 " not in connection.recv(4096).split(b"\r\n")[0]


@pytest.mark.parametrize(
    "path", ["a." * 12_000, "%61" * 300, "a" * 300, "..%2f" * 40 + "etc/passwd"]
)
def test_no_path_stops_the_api(demo: Demo, path: str) -> None:
    with demo.client("acme") as client:
        answer = client.get(f"/{path}", headers={"Authorization": ""})
        assert 400 <= answer.status_code < 500
        assert client.get("/healthz").status_code == 200
