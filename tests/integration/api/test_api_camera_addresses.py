"""A camera may not be at an address that leads back into the machine, however it is written."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from tests.integration.api.world import World, problem

LEADS_BACK = [
    "rtsp://127.0.0.1:8554/globex.yard",
    "rtsp://[::ffff:127.0.0.1]:8554/globex.yard",
    "rtsp://[::FFFF:7F00:1]:8554/globex.yard",
    "rtsp://[0:0:0:0:0:ffff:127.0.0.1]/x",
    "rtsp://[::127.0.0.1]/x",
    "rtsp://[64:ff9b::7f00:1]/x",
    "rtsp://[::1]:8554/x",
    "rtsp://[::]:8554/x",
    "rtsp://127.1:8554/x",
    "rtsp://127.0.1/x",
    "rtsp://0x7f000001/x",
    "rtsp://0x7f.0.0.1/x",
    "rtsp://0177.0.0.1/x",
    "rtsp://2130706433/x",
    "rtsp://0/x",
    "rtsp://0.0.0.0:8554/x",
    "rtsp://127.255.255.254/x",
    "rtsp://localhost:8554/x",
    "rtsp://LocalHost:8554/x",
    "rtsp://localhost.:8554/x",
    "rtsp://camera.localhost/x",
    "rtsp://\uff11\uff12\uff17.\uff10.\uff10.\uff11/x",
    "rtsp://192.0.2.1@127.0.0.1/x",
    "rtsp://user:pass@192.0.2.1@127.0.0.1:8554/x",
    "rtsp://192.0.2.1:554@127.0.0.1:8554/x",
    "rtsps://127.0.0.1/x",
    "rtmp://127.0.0.1/live/x",
    "rtmps://127.0.0.1/live/x",
    "http://127.0.0.1:1984/api/stream.mp4?src=exec%3A%27sh%27%27-c%27%27id%3Epwned%27",
    "http://127.0.0.1:8265/api/jobs/",
    "https://127.0.0.1/x",
    "HTTP://127.0.0.1:6390/x",
    "http://169.254.169.254/latest/meta-data/",
    "http://[::ffff:169.254.169.254]/",
    "http://[fe80::1]/",
    "http://[fe80::1%25eth0]/",
    "http://224.0.0.1/",
    "http://255.255.255.255/",
    "http://[ff02::1]/",
]


@pytest.mark.parametrize("url", LEADS_BACK)
async def test_what_leads_back_here_is_refused_wherever_a_url_can_stand(
    acme: httpx.AsyncClient, world: World, url: str
) -> None:
    good = "rtsp://192.0.2.10/s"
    added = await acme.post("/v1/cameras", json={"id": "a", "url": good})
    assert added.status_code == 201
    answers = [
        await acme.post("/v1/cameras", json={"id": "b", "url": url}),
        await acme.post("/v1/cameras", json={"id": "b", "url": good, "substream_url": url}),
        await acme.patch("/v1/cameras/a", json={"url": url}),
        await acme.patch("/v1/cameras/a", json={"substream_url": url}),
    ]
    details = {str(problem(answer, 422)["detail"]) for answer in answers}
    assert len(details) == 1
    assert "Cameras may not have this address" in details.pop()
    (camera,) = (await acme.get("/v1/cameras")).json()["cameras"]
    assert (camera["url"], camera["substream_url"]) == (good, None)


async def test_the_answer_does_not_tell_open_ports_from_closed_ones(
    acme: httpx.AsyncClient, world: World
) -> None:
    connections = 0

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    opened = server.sockets[0].getsockname()[1]
    answers = []
    for port in (opened, opened + 1, 1):
        answer = await acme.post(
            "/v1/cameras", json={"id": "b", "url": f"http://127.0.0.1:{port}/"}
        )
        answers.append((answer.status_code, answer.json()["detail"], answer.json()["hint"]))
    assert len(set(answers)) == 1
    assert connections == 0
    server.close()


async def test_a_name_that_nobody_knows_is_let_through_for_the_camera_to_say(
    acme: httpx.AsyncClient,
) -> None:
    answer = await acme.post("/v1/cameras", json={"id": "b", "url": "rtsp://no-such.invalid/s"})
    assert answer.status_code == 201
