"""`/v1/detect` over HTTP: what is sent, how large, in which form; boxes in the sent picture."""

from __future__ import annotations

import io
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from pipelines.domain import WorkOwner
from tests.integration.api.world import World, problem


def jpeg(size: tuple[int, int] = (320, 240), **options: Any) -> bytes:
    noise = np.random.default_rng(1).integers(0, 256, (size[1] // 8, size[0] // 8, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).resize(size).save(buffer, "JPEG", **options)
    return buffer.getvalue()


async def send(
    client: httpx.AsyncClient, data: bytes, name: str = "image", **params: Any
) -> httpx.Response:
    return await client.post("/v1/detect", files={name: ("a.jpg", data)}, params=params)


@pytest.fixture(autouse=True)
def street(world: World) -> None:
    world.detector.sees = [
        ("person", 0.61, (0.5, 0.5, 0.75, 1.0)),
        ("bus", 0.93, (0.0, 0.25, 0.5, 0.75)),
        ("person", 0.30, (0.9, 0.1, 1.0, 0.2)),
    ]


async def test_boxes_are_pixels_of_the_sent_picture(acme: httpx.AsyncClient, world: World) -> None:
    response = await send(acme, jpeg((320, 240)))

    assert response.status_code == 200, response.text
    assert response.json() == {
        "model": "still",
        "detections": [
            {"class": "bus", "confidence": 0.93, "box": [0, 60, 160, 180]},
            {"class": "person", "confidence": 0.61, "box": [160, 120, 240, 240]},
            {"class": "person", "confidence": 0.3, "box": [288, 24, 320, 48]},
        ],
    }
    [frame] = world.detector.frames
    assert frame.pixels.shape == (384, 640, 3)
    assert frame.letterbox.source == (320, 240)
    assert world.detector.owners == [WorkOwner("acme")]


async def test_a_turned_picture_is_upright_before_it_is_looked_at(
    acme: httpx.AsyncClient, world: World
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6

    body = (await send(acme, jpeg((320, 240), exif=exif))).json()

    assert world.detector.frames[0].letterbox.source == (240, 320)
    assert body["detections"][0]["box"] == [0, 80, 120, 240]


async def test_answers_can_be_narrowed(acme: httpx.AsyncClient) -> None:
    async def classes(**params: Any) -> list[str]:
        answer = await send(acme, jpeg(), **params)
        return [found["class"] for found in answer.json()["detections"]]

    assert await classes(confidence=0.5) == ["bus", "person"]
    assert await classes(classes="person") == ["person", "person"]
    assert await classes(classes=["bus", "car"]) == ["bus"]
    assert await classes(classes="person", confidence=0.99) == []


@pytest.mark.parametrize(
    ("params", "parameter"),
    [
        ({"confidence": 2}, "confidence"),
        ({"confidence": "NaN"}, "confidence"),
        ({"classes": ""}, "classes"),
        ({"classes": ["x"] * 101}, "classes"),
    ],
)
async def test_wrong_parameters(
    acme: httpx.AsyncClient, params: dict[str, Any], parameter: str
) -> None:
    body = problem(await send(acme, jpeg(), **params), 422, "invalid-input")

    assert body["errors"][0]["parameter"] == parameter  # type: ignore[index]


def sixty_megapixels() -> bytes:
    buffer = io.BytesIO()
    Image.new("1", (10_000, 6_000)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", 422),
        (b"just some text\n", 415),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415),
        (jpeg()[:-2000], 422),
        (jpeg()[:300], 422),
        (jpeg() + b"x" * 2 * 1024 * 1024, 413),
        (b"\xff" * (3 * 1024 * 1024), 413),
        (sixty_megapixels(), 413),
    ],
    ids=["empty", "text", "svg", "truncated", "headers only", "too long", "huge", "60 MP"],
)
async def test_what_cannot_be_used_is_a_4xx(
    acme: httpx.AsyncClient, world: World, data: bytes, status: int
) -> None:
    body = problem(await send(acme, data), status)

    assert body["detail"]
    assert world.detector.frames == []


async def test_a_missing_field_is_named(acme: httpx.AsyncClient) -> None:
    body = problem(await send(acme, jpeg(), name="picture"), 422, "invalid-input")
    assert body["errors"] == [{"detail": "Field required", "pointer": "#/image"}]

    body = problem(await acme.post("/v1/detect", data={"image": "text"}, files={"x": b""}), 422)
    assert body["errors"][0]["pointer"] == "#/image"  # type: ignore[index]


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("image/jpeg", 415),
        ("application/json", 415),
        ("application/x-www-form-urlencoded", 415),
        ("", 415),
        ("multipart/form-data", 400),
        ("multipart/form-data; boundary=", 400),
        ("multipart/form-data; boundary=abc", 422),
    ],
)
async def test_a_body_that_is_no_form(
    acme: httpx.AsyncClient, content_type: str, status: int
) -> None:
    response = await acme.post("/v1/detect", content=jpeg(), headers={"content-type": content_type})

    assert response.status_code in (400, status)
    problem(response, response.status_code)


async def test_a_long_body_is_refused_while_it_comes(acme: httpx.AsyncClient) -> None:
    """Without a Content-Length, so that only counting helps."""

    async def endless() -> Any:
        yield b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        for _ in range(80):
            yield b"x" * 64 * 1024

    response = await acme.post(
        "/v1/detect",
        content=endless(),
        headers={"content-type": "multipart/form-data; boundary=b"},
    )

    problem(response, 413, "too-large")


async def test_without_a_detector_it_is_a_503(acme: httpx.AsyncClient, world: World) -> None:
    world.detector.away = True

    response = await send(acme, jpeg())

    problem(response, 503, "unavailable")
    assert response.headers["retry-after"]
