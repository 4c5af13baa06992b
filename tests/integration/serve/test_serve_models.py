"""The model deployments on a real Ray Serve, called as the rest of the product calls them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest
from pydantic import SecretStr
from ray import serve
from ray.serve import Deployment
from ray.serve.handle import DeploymentHandle
from redis.asyncio import Redis

from cluster.core.handles import by_value
from cluster.core.names import DETECTOR, EMBEDDER, MEMORY
from cluster.core.remote import ray_errors
from cluster.core.settings import DetectorSettings, RedisSettings, Settings
from cluster.core.work_orders import PLATFORM, Purpose, WorkOrder
from cluster.inference.model_choice import ModelChoice
from pipelines.domain import Crop, Detections, LetterboxedFrame, Sighting, SightingFilter, WorkOwner
from pipelines.erasure import Target
from pipelines.errors import (
    InputError,
    ModelError,
    StaleFrameError,
    UnavailableError,
    WorkRefusedError,
)
from pipelines.imaging import letterbox_rgb
from pipelines.retention import Window
from serve.app import resources
from tests.factories import ORDERS, SIGNED
from tests.integration.serve import clip_model, models

Handle = DeploymentHandle[Any]


# Orders expire: those of the module's beginning would be too old for its last tests.
def gate() -> WorkOrder:
    return ORDERS.issue(WorkOwner("acme", "gate"), Purpose.DETECT)


def loading() -> WorkOrder:
    return ORDERS.issue(PLATFORM, Purpose.MODEL)


def embedding() -> WorkOrder:
    return ORDERS.issue(WorkOwner("acme"), Purpose.EMBED)


def detects(camera: str) -> WorkOrder:
    return ORDERS.issue(WorkOwner("acme", camera), Purpose.DETECT)


def may(purpose: Purpose, tenant: str, camera: str | None = None) -> WorkOrder:
    return ORDERS.issue(WorkOwner(tenant, camera), purpose)


pytestmark = [pytest.mark.usefixtures("ray_session"), pytest.mark.timeout(300)]


def deployment(decorated: object) -> Deployment:
    return cast("Deployment", decorated)


def run(name: str, *arguments: object, bound: Deployment) -> Handle:
    app = bound.options(ray_actor_options=resources(DETECTOR)).bind(*arguments)
    return by_value(serve.run(app, name=name, route_prefix=None))


@pytest.fixture(scope="module")
def settings(kept_dir: Path) -> Settings:
    # Whoever else uses the cores meanwhile: no frame of these tests comes too late.
    return Settings(ray=SIGNED, data_dir=kept_dir, detector=DetectorSettings(max_wait_ms=4000))


@pytest.fixture(scope="module")
def detector(ray_session: None, settings: Settings) -> Iterator[Handle]:
    from serve.detector import Detector

    yield run("detector", settings, bound=deployment(Detector))
    serve.delete("detector")


@pytest.fixture
def frame(bus: npt.NDArray[np.uint8]) -> LetterboxedFrame:
    return letterbox_rgb(bus, (640, 384))


async def call(handle: Handle, method: str, *arguments: object, **named: object) -> Any:
    async with ray_errors("model", 120):
        return await getattr(handle, method).remote(*arguments, **named)


async def test_a_frame_goes_in_and_detections_come_out(
    detector: Handle, frame: LetterboxedFrame
) -> None:
    seen = await call(detector, "detect", frame, gate())
    assert isinstance(seen, Detections)
    assert seen.labels.count("bus") == 1
    assert seen.labels.count("person") >= 3


async def test_a_frame_whose_owner_is_not_proved_is_refused(
    detector: Handle, frame: LetterboxedFrame
) -> None:
    for forged in (None, gate()._replace(owner=WorkOwner("globex", "gate"))):
        for method, work in (("detect", frame), ("detect_image", frame), ("detect_many", [frame])):
            with pytest.raises(WorkRefusedError):
                await call(detector, method, work, forged)
    with pytest.raises(WorkRefusedError):
        await call(detector, "load", "yolov8n.pt", gate())


async def test_many_cameras_at_once_each_get_their_own_answer(
    detector: Handle, bus: npt.NDArray[np.uint8], frame: LetterboxedFrame
) -> None:
    """Sixteen cameras, one frame in flight each; every second one sees the bus mirrored."""
    mirrored = letterbox_rgb(np.ascontiguousarray(bus[:, ::-1]), (640, 384))
    expected = [await call(detector, "detect", f, gate()) for f in (frame, mirrored)]

    async def camera(index: int) -> None:
        owner = detects(f"cam-{index}")
        for _ in range(4):
            seen = await call(detector, "detect", (frame, mirrored)[index % 2], owner)
            np.testing.assert_array_equal(seen.xyxy, expected[index % 2].xyxy)

    await asyncio.gather(*(camera(index) for index in range(16)))


async def test_a_batch_job_gets_what_single_frames_get(
    detector: Handle, frame: LetterboxedFrame
) -> None:
    blank = letterbox_rgb(np.zeros((1080, 1920, 3), np.uint8), (640, 384))
    single = await call(detector, "detect", frame, gate())
    many = await call(detector, "detect_many", [frame, blank] * 5, gate())
    assert [len(seen) for seen in many] == [len(single), 0] * 5
    assert await call(detector, "detect_many", [], gate()) == []


async def test_the_loop_answers_while_the_model_works(
    detector: Handle, frame: LetterboxedFrame
) -> None:
    """`info` needs no model: it must not wait behind frames."""
    frames = [
        asyncio.ensure_future(call(detector, "detect_image", frame, gate())) for _ in range(30)
    ]
    started = time.monotonic()
    info = await call(detector, "info")
    took = time.monotonic() - started
    assert not all(task.done() for task in frames)
    await asyncio.gather(*frames)
    assert info.name == "yolov8n.pt"
    assert took < 0.5 * (time.monotonic() - started)


async def test_a_frame_of_another_size_comes_back_as_our_error(
    detector: Handle, bus: npt.NDArray[np.uint8]
) -> None:
    with pytest.raises(InputError, match="letterboxed"):
        await call(detector, "detect", letterbox_rgb(bus, (320, 192)), gate())


async def test_more_images_than_may_wait_are_refused_not_queued(
    detector: Handle, frame: LetterboxedFrame
) -> None:
    results = await asyncio.gather(
        *(call(detector, "detect_image", frame, gate()) for _ in range(900)), return_exceptions=True
    )
    refused = [r for r in results if isinstance(r, UnavailableError)]
    served = [r for r in results if isinstance(r, Detections)]
    assert len(refused) + len(served) == 900
    assert refused
    assert len(served) >= 32


async def test_frames_that_wait_too_long_come_back_as_stale(
    ray_session: None, settings: Settings, frame: LetterboxedFrame
) -> None:
    """A hundred frames at once take a second and more; none may wait for longer than 50 ms."""
    from serve.detector import Detector

    hasty = settings.model_copy(update={"detector": DetectorSettings(max_wait_ms=50)})
    detector = run("hasty", hasty, bound=deployment(Detector))
    try:
        results = await asyncio.gather(
            *(call(detector, "detect", frame, detects(f"cam-{n}")) for n in range(100)),
            return_exceptions=True,
        )
    finally:
        await asyncio.to_thread(serve.delete, "hasty")
    stale = [r for r in results if isinstance(r, StaleFrameError)]
    served = [r for r in results if isinstance(r, Detections)]
    assert len(stale) + len(served) == 100
    assert stale
    assert served


@pytest.mark.parametrize("kind", ["truncated", "renamed", "missing", "segmentation", "bomb"])
async def test_a_refused_model_leaves_the_old_one_serving(
    detector: Handle, frame: LetterboxedFrame, kind: str, tmp_path: Path
) -> None:
    canary = tmp_path / "ran"
    path = {
        "truncated": lambda: models.truncated(tmp_path),
        "renamed": lambda: models.renamed(tmp_path),
        "missing": lambda: tmp_path / "gone.pt",
        "segmentation": lambda: models.untrained("yolov8n-seg", tmp_path),
        "bomb": lambda: models.bomb(tmp_path, canary),
    }[kind]()
    before = await call(detector, "info")
    with pytest.raises(ModelError) as caught:
        await call(detector, "load", str(path), loading())
    after = await call(detector, "info")
    assert after.sha256 == before.sha256
    assert after.error == str(caught.value)
    assert (await call(detector, "detect", frame, gate())).labels.count("bus") == 1
    assert not canary.exists()


@pytest.fixture
async def traffic(detector: Handle, frame: LetterboxedFrame) -> AsyncIterator[list[object]]:
    """Four cameras that send one frame after the other until the test ends; what they got."""
    got: list[object] = []
    going = True

    async def camera() -> None:
        while going:
            try:
                got.append(await call(detector, "detect", frame, gate()))
            except Exception as error:  # noqa: BLE001 -- the test looks at whatever came
                got.append(error)

    cameras = [asyncio.create_task(camera()) for _ in range(4)]
    yield got
    going = False
    await asyncio.gather(*cameras)


async def test_a_swap_under_load_loses_no_frame(
    detector: Handle, traffic: list[object], tmp_path: Path
) -> None:
    """To an untrained network, which sees nothing, and back."""
    blind = models.untrained("yolov8n", tmp_path)
    await asyncio.sleep(0.5)
    info = await call(detector, "load", str(blind), loading())
    assert (info.name, info.error) == ("yolov8n.pt", None)
    assert info.sha256 == (await call(detector, "info")).sha256
    at_swap = len(traffic)
    await asyncio.sleep(1.0)
    back = await call(detector, "load", "yolov8n.pt", loading())
    assert back.sha256.startswith("f59b3d83")
    await asyncio.sleep(1.0)
    failures = [result for result in traffic if not isinstance(result, Detections)]
    assert failures == []
    seen = [len(cast("Detections", result)) for result in traffic]
    # In flight when the models were swapped: at most four frames.
    assert 0 in seen[at_swap : at_swap + 8]
    assert seen[0] > 0
    assert seen[-1] > 0


@pytest.mark.parametrize(
    ("chosen", "expected"), [("yolov8n", "chosen.pt"), (None, "yolov8n.pt")], ids=["good", "gone"]
)
async def test_a_replica_that_starts_later_runs_what_was_chosen(
    settings: Settings,
    redis_client: Redis,
    valkey: str,
    tmp_path: Path,
    chosen: str | None,
    expected: str,
) -> None:
    from serve.detector import Detector

    path = tmp_path / "chosen.pt"
    if chosen is not None:
        models.untrained(chosen, tmp_path).rename(path)
    await ModelChoice(redis_client, settings.detector.weights).choose(str(path))
    shared = settings.model_copy(update={"redis": RedisSettings(url=SecretStr(valkey))})
    later = run("later", shared, bound=deployment(Detector))
    info = await call(later, "info")
    assert info.name == expected
    assert (info.error is None) == (chosen is not None)
    serve.delete("later")


def sighting(tenant: str, track: str, label: str = "person") -> Sighting:
    return Sighting(
        tenant=tenant,
        camera="gate",
        track=track,
        label=label,
        confidence=0.9,
        first_seen_us=1_700_000_000_000_000,
        last_seen_us=1_700_000_005_000_000,
        box=(0.1, 0.1, 0.2, 0.5),
    )


def plain(colour: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    return np.full((96, 48, 3), colour, np.uint8)


def embedding_app(settings: Settings, name: str) -> tuple[Handle, Handle]:
    """Embedder and Memory bound to each other as `serve.app` does it."""
    from cluster.inference.embedders import embedder_info
    from serve.embedder import Embedder
    from serve.memory import Memory

    memory = deployment(Memory).options(ray_actor_options=resources(MEMORY))
    bound = memory.bind(settings, embedder_info(settings.embedder))
    embedder = deployment(Embedder).options(ray_actor_options=resources(EMBEDDER))
    handle = serve.run(embedder.bind(settings, bound), name=name, route_prefix=None)
    return by_value(handle), by_value(serve.get_deployment_handle("Memory", name))


@pytest.fixture(scope="module")
def memories(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    settings = Settings(ray=SIGNED, data_dir=tmp_path_factory.mktemp("memory"))
    yield embedding_app(settings, "memories")
    serve.delete("memories")


async def test_what_was_seen_is_found_again_by_its_tenant_only(memories: Any) -> None:
    embedder, memory = memories
    red, blue = plain((200, 30, 30)), plain((30, 30, 200))
    await call(
        embedder, "remember", Crop(red, sighting("acme", "t-red")), may(Purpose.REMEMBER, "acme")
    )
    await call(
        embedder, "remember", Crop(blue, sighting("acme", "t-blue")), may(Purpose.REMEMBER, "acme")
    )
    await call(
        embedder,
        "remember",
        Crop(red, sighting("globex", "t-foreign")),
        may(Purpose.REMEMBER, "globex"),
    )
    vector = await call(embedder, "embed_image", red, embedding())
    assert vector.shape == ((await call(embedder, "info")).dim,)
    found = await call(memory, "search", may(Purpose.SEARCH, "acme"), vector, 10)
    assert [match.sighting.track for match in found] == ["t-red", "t-blue"]
    assert found[0].score == pytest.approx(1.0, abs=1e-3)
    assert (
        await call(
            memory, "search", may(Purpose.SEARCH, "acme"), vector, 10, SightingFilter(label="car")
        )
        == []
    )
    window = Window(found[0].sighting.first_seen_us, found[0].sighting.last_seen_us + 1)
    assert await call(memory, "remove", may(Purpose.FORGET, "acme"), "gate", window, 1) == 1
    assert len(await call(memory, "search", may(Purpose.SEARCH, "acme"), vector, 10)) == 1
    await call(memory, "erase", may(Purpose.FORGET, "acme"), "gate")
    assert await call(memory, "search", may(Purpose.SEARCH, "acme"), vector, 10) == []
    assert len(await call(memory, "search", may(Purpose.SEARCH, "globex"), vector, 10)) == 1
    foreign = [Target("gate", "t-foreign")]
    await call(memory, "forget", may(Purpose.FORGET, "acme"), foreign)
    assert await call(memory, "known", may(Purpose.FORGET, "globex"), foreign) == foreign
    await call(memory, "forget", may(Purpose.FORGET, "globex"), foreign)
    assert await call(memory, "count", may(Purpose.FORGET, "globex")) == 0


async def test_the_same_track_again_replaces_what_was_known(memories: Any) -> None:
    embedder, memory = memories
    for colour in ((0, 200, 0), (200, 200, 0)):
        await call(
            embedder,
            "remember",
            Crop(plain(colour), sighting("initech", "t-1")),
            may(Purpose.REMEMBER, "initech"),
        )
    found = await call(
        memory, "search", may(Purpose.SEARCH, "initech"), np.ones(512, np.float32), 10
    )
    assert len(found) == 1


async def test_what_cannot_be_remembered_is_refused(memories: Any) -> None:
    embedder, memory = memories
    vector = await call(embedder, "embed_image", plain((1, 2, 3)), embedding())
    acme = may(Purpose.REMEMBER, "acme")
    with pytest.raises(WorkRefusedError, match="another tenant"):
        await call(memory, "upsert", acme, sighting("globex", "t-1"), vector)
    with pytest.raises(WorkRefusedError, match="another tenant"):
        await call(embedder, "remember", Crop(plain((1, 2, 3)), sighting("globex", "t-1")), acme)
    with pytest.raises(WorkRefusedError, match="to remember, not to search"):
        await call(memory, "search", acme, vector, 10)
    with pytest.raises(WorkRefusedError, match="without a work order"):
        await call(memory, "erase", "acme")
    with pytest.raises(InputError):
        await call(memory, "search", may(Purpose.SEARCH, "acme"), vector[:5], 10)
    with pytest.raises(InputError, match="expected a picture"):
        await call(embedder, "embed_image", np.zeros((4, 4), np.uint8), embedding())
    with pytest.raises(InputError, match="no text side"):
        await call(embedder, "embed_text", "a red car", embedding())


async def test_the_folder_of_vectors_outlives_a_new_replica(
    ray_session: None, tmp_path: Path
) -> None:
    """A new deployment starts while the old one may still hold the embedded engine's lock."""
    settings = Settings(ray=SIGNED, data_dir=tmp_path)
    embedder, memory = embedding_app(settings, "again")
    await call(
        embedder,
        "remember",
        Crop(plain((9, 9, 200)), sighting("acme", "t-kept")),
        may(Purpose.REMEMBER, "acme"),
    )
    embedder, memory = embedding_app(
        settings.model_copy(update={"log": settings.log.model_copy(update={"level": "error"})}),
        "again",
    )
    vector = await call(embedder, "embed_image", plain((9, 9, 200)), embedding())
    found = await call(memory, "search", may(Purpose.SEARCH, "acme"), vector, 5)
    assert [match.sighting.track for match in found] == ["t-kept"]
    serve.delete("again")


async def test_words_find_pictures_with_a_clip_like_model(
    ray_session: None, tmp_path: Path
) -> None:
    folder = clip_model.make(tmp_path / "clip")
    settings = Settings(ray=SIGNED, data_dir=tmp_path / "data", embedder={"model": str(folder)})  # type: ignore[arg-type]
    embedder, memory = embedding_app(settings, "clip")
    for track, colour in (("t-red", (220, 0, 0)), ("t-green", (0, 220, 0))):
        await call(
            embedder,
            "remember",
            Crop(plain(colour), sighting("acme", track)),
            may(Purpose.REMEMBER, "acme"),
        )
    vector = await call(embedder, "embed_text", "lime", embedding())
    found = await call(memory, "search", may(Purpose.SEARCH, "acme"), vector, 1)
    assert [match.sighting.track for match in found] == ["t-green"]
    serve.delete("clip")
