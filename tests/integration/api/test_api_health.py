"""Health, metrics, the page, and what every answer carries."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from pipelines.errors import UnavailableError
from serve.api import readiness
from serve.api.app import create_app
from serve.api.auth import OIDC_PREFIX, OPEN
from tests.integration.api.world import Frail, World, eventually, problem, served


async def test_alive(anonymous: httpx.AsyncClient) -> None:
    response = await anonymous.get("/healthz")

    assert (response.status_code, response.json()) == (200, {"status": "alive"})


async def test_ready_names_every_dependency(anonymous: httpx.AsyncClient) -> None:
    body = (await anonymous.get("/readyz")).json()

    assert body["status"] == "ready"
    assert set(body["dependencies"]) == {"database", "redis"}
    assert all(state["status"] == "up" for state in body["dependencies"].values())
    assert body["audit"] == {"status": "ok", "waiting": 0, "lost": 0}


async def test_one_dependency_down_is_a_503_that_names_it(frail: Frail) -> None:
    anonymous = await frail.world.client(None)
    await asyncio.to_thread(frail.redis.stop)

    response = await anonymous.get("/readyz")

    body = problem(response, 503, "unavailable")
    assert "redis" in str(body["detail"])
    states: dict[str, dict[str, str]] = body["dependencies"]  # type: ignore[assignment]
    assert states["redis"]["status"] == "down"
    assert states["database"]["status"] == "up"
    assert body["audit"] == {"status": "ok", "waiting": 0, "lost": 0}
    assert str(frail.redis.port) not in response.text
    await asyncio.to_thread(frail.redis.start)

    async def ready() -> bool:
        return (await anonymous.get("/readyz")).status_code == 200

    await eventually(ready)


async def test_probes_are_bounded_in_time_and_shared(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "PROBE_TIMEOUT_S", 0.2)
    asked = []

    async def stuck() -> None:
        asked.append(1)
        await asyncio.sleep(60)

    async def broken() -> None:
        raise RuntimeError("rtsp://user:secret@host is broken")

    async def away() -> None:
        raise UnavailableError("redis://user:secret@host is away")

    deps = type(world.deps)(
        **{name: getattr(world.deps, name) for name in world.deps.__slots__}
        | {"probes": {"stuck": stuck, "broken": broken, "away": away}}
    )
    async with (
        served(create_app(deps)) as url,
        httpx.AsyncClient(base_url=url, timeout=30) as client,
    ):
        responses = await asyncio.gather(*(client.get("/readyz") for _ in range(10)))

    assert len(asked) == 1
    for response in responses:
        states: dict[str, dict[str, str]] = problem(response, 503)["dependencies"]  # type: ignore[assignment]
        assert states["stuck"]["detail"] == "no answer within 0.2 s"
        assert states["broken"]["detail"] == "RuntimeError"
        assert states["away"]["detail"] == "unavailable"
        assert "secret" not in response.text


async def test_metrics_count_by_template_and_name_no_tenant(
    acme: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    for n in range(5):
        await acme.get(f"/v1/cameras/camera-{n}")
        await acme.get(f"/v1/nothing/{n}")
        await anonymous.get(f"/v1/cameras/other-{n}")
    await acme.request("PROPFIND", "/v1/cameras")

    text = (await anonymous.get("/metrics")).text

    assert (
        'atalaia_http_requests_total{method="GET",route="/v1/cameras/{camera}",status="404"} 5.0'
        in text
    )
    assert 'atalaia_http_requests_total{method="GET",route="unmatched",status="404"} 5.0' in text
    assert 'atalaia_http_requests_total{method="GET",route="unmatched",status="401"} 5.0' in text
    assert 'method="other"' in text
    assert "atalaia_http_request_seconds_bucket" in text
    assert "process_resident_memory_bytes" in text
    for word in ("acme", "camera-1", "other-1", "nothing", "PROPFIND"):
        assert word not in text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/nothing/deeper", 404),
        ("GET", "/assets/nothing.js", 404),
        ("GET", "/assets/../../deployment.py", 404),
        ("GET", "/.gitkeep", 404),
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1/cameras/", 404),
        ("PUT", "/v1/cameras", 405),
        ("DELETE", "/v1/cameras", 405),
        ("POST", "/healthz", 405),
        ("POST", "/", 405),
        ("PROPFIND", "/v1/cameras", 405),
    ],
)
async def test_unknown_addresses_and_methods_are_problems(
    acme: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    response = await acme.request(method, path)

    problem(response, status)
    if status == 405 and path == "/v1/cameras":
        assert set(response.headers["allow"].split(", ")) == {"GET", "POST"}


async def test_an_unforeseen_failure_is_a_bare_500(world: World, acme: httpx.AsyncClient) -> None:
    async def broken() -> None:
        raise RuntimeError("a secret of the inside")

    world.detector.info = broken  # type: ignore[method-assign,assignment]
    from tests.integration.api.test_api_detect import jpeg

    response = await acme.post("/v1/detect", files={"image": ("a.jpg", jpeg())})

    problem(response, 500, "internal")
    assert "secret" not in response.text


async def test_every_answer_is_safe_for_browsers(
    acme: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    for response in (
        await anonymous.get("/"),
        await anonymous.get("/nothing"),
        await anonymous.get("/v1/cameras"),
        await acme.get("/v1/cameras"),
    ):
        policy = response.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "connect-src 'self' wss://live.example https://live.example" in policy
        assert "unsafe" not in policy
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["x-frame-options"] == "DENY"
        assert response.headers["referrer-policy"] == "no-referrer"
    assert (await acme.get("/v1/cameras")).headers["cache-control"] == "no-store"


async def test_the_page_and_its_files(world: World, tmp_path: Path) -> None:
    static = tmp_path / "static"
    (static / "assets").mkdir(parents=True)
    (static / "index.html").write_text("<!doctype html>")
    (static / "docs.html").write_text("<!doctype html><title>API</title>")
    (static / "icon.svg").write_text("<svg/>")
    (static / ".secret").write_text("x")
    (static / "assets" / "main-abc123.js").write_text("1")
    (tmp_path / "outside.txt").write_text("x")
    app = create_app(world.deps, static=static)
    async with served(app) as url, httpx.AsyncClient(base_url=url, timeout=30) as client:
        page = await client.get("/")
        docs = await client.get("/docs")
        asset = await client.get("/assets/main-abc123.js")
        icon = await client.get("/icon.svg")
        gone = [
            await client.get(path)
            for path in ("/.secret", "/assets", "/assets/", "/..%2foutside.txt", "/%2e%2e")
        ]

    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["cache-control"] == "no-cache"
    assert "API" in docs.text
    assert docs.headers["cache-control"] == "no-cache"
    assert "unsafe" not in docs.headers["content-security-policy"]
    assert asset.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert icon.headers["content-type"] == "image/svg+xml"
    assert [response.status_code for response in gone] == [404] * len(gone)


async def test_without_a_built_page_it_says_so(world: World, tmp_path: Path) -> None:
    app = create_app(world.deps, static=tmp_path / "none")
    async with served(app) as url, httpx.AsyncClient(base_url=url, timeout=30) as client:
        responses = [await client.get(path) for path in ("/", "/docs")]

    for response in responses:
        assert response.status_code == 503
        assert "npm run build" in response.text


async def test_the_documents(anonymous: httpx.AsyncClient) -> None:
    document = (await anonymous.get("/openapi.json")).json()
    operations = [
        (path, method, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
    ]
    assert len(operations) >= 24
    for path, method, operation in operations:
        assert operation.get("summary"), (path, method)
        assert operation.get("tags"), (path, method)
        if path.startswith("/v1/"):
            # Sign-in brings a password or a refresh token, or is on its way to one.
            is_open = path in OPEN or path.startswith(OIDC_PREFIX)
            documented = {"422", "429", "503"} | (set() if is_open else {"401"})
            assert documented <= operation["responses"].keys(), (path, method)
            security = None if is_open else [{"HTTPBearer": []}]
            assert operation.get("security") == security, (path, method)
    assert "HTTPValidationError" not in document["components"]["schemas"]
    assert "Problem" in document["components"]["schemas"]


@pytest.mark.parametrize(
    ("address", "header"),
    [
        ("https://atalaia.example.com", "max-age=31536000"),
        ("http://atalaia.example.com", None),
        (None, None),
    ],
)
async def test_browsers_that_come_by_https_stay_with_it(
    world: World, address: str | None, header: str | None
) -> None:
    api = world.deps.settings.api.model_copy(update={"url": address})
    settings = world.deps.settings.model_copy(update={"api": api})
    app = create_app(replace(world.deps, settings=settings))
    async with served(app) as url, httpx.AsyncClient(base_url=url, timeout=30) as client:
        for path in ("/healthz", "/v1/session", "/docs"):
            assert (await client.get(path)).headers.get("strict-transport-security") == header
