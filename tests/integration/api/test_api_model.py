"""`/v1/detect` with the real model: what is on the picture, and where."""

from __future__ import annotations

import asyncio
import io
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest
from PIL import Image, ImageOps

from cluster.core.settings import DetectorSettings
from cluster.inference.model import DetectionModel, ModelInfo, load_model
from pipelines.domain import Detections, LetterboxedFrame, WorkOwner
from tests.integration.api.world import World

# Read off the picture by hand: outer edges, in its 810x1080 pixels.
BUS = (20.0, 230.0, 803.0, 745.0)
PERSONS = [(49.0, 400.0, 245.0, 903.0), (670.0, 393.0, 810.0, 880.0), (222.0, 406.0, 345.0, 858.0)]


class LocalDetector:
    """The model of the Detector deployment, without Ray."""

    def __init__(self, model: DetectionModel) -> None:
        self._model = model

    async def detect_image(self, image: LetterboxedFrame, owner: WorkOwner) -> Detections:
        [found] = await asyncio.to_thread(self._model.detect, [image])
        return found

    async def info(self) -> ModelInfo:
        return self._model.info


@pytest.fixture(scope="module")
def model(model_cache: Path) -> DetectionModel:
    settings = DetectorSettings(runtime="torch")
    return load_model(settings.weights, settings, model_cache)


@pytest.fixture
async def acme(world: World, model: DetectionModel) -> httpx.AsyncClient:
    # The world's detector is what the routes hold; its methods become the model's.
    local = LocalDetector(model)
    world.detector.detect_image = local.detect_image  # type: ignore[method-assign]
    world.detector.info = local.info  # type: ignore[method-assign,assignment]
    return await world.client("acme")


@pytest.fixture(scope="module")
def bus() -> bytes:
    spec = find_spec("ultralytics")
    assert spec is not None
    assert spec.origin is not None
    return (Path(spec.origin).parent / "assets" / "bus.jpg").read_bytes()


def overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """Intersection over union of two boxes."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    both = max(0.0, width) * max(0.0, height)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return both / (sum(areas) - both)


def check(body: dict[str, object]) -> None:
    found = body["detections"]
    assert isinstance(found, list)
    assert body["model"] == "yolov8n.pt"
    buses = [tuple(d["box"]) for d in found if d["class"] == "bus"]
    persons = [tuple(d["box"]) for d in found if d["class"] == "person"]
    assert len(buses) == 1
    assert overlap(buses[0], BUS) > 0.8
    assert len(persons) >= 3
    for person in PERSONS:
        assert max(overlap(person, box) for box in persons) > 0.8


async def test_the_bus_and_its_passengers(acme: httpx.AsyncClient, bus: bytes) -> None:
    response = await acme.post("/v1/detect", files={"image": ("bus.jpg", bus)})

    assert response.status_code == 200, response.text
    check(response.json())


async def test_the_same_lying_on_its_side_with_an_exif_note(
    acme: httpx.AsyncClient, bus: bytes
) -> None:
    image = Image.open(io.BytesIO(bus)).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=95, exif=exif)
    assert ImageOps.exif_transpose(Image.open(buffer)).size == (810, 1080)

    response = await acme.post("/v1/detect", files={"image": ("bus.jpg", buffer.getvalue())})

    check(response.json())
