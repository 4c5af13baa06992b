"""The port of a replica's metrics: what it serves, which port it takes, what it refuses."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx
from prometheus_client.parser import text_string_to_metric_families

from cluster.core.api_settings import MetricsSettings
from serve.api import metrics_port
from serve.api.app import create_app
from serve.api.metrics import Metrics
from serve.api.metrics_port import MAX_HEAD_BYTES, MAX_OPEN, MetricsPort
from tests.integration.api.world import World, problem, served
from tests.ports import free_port

HOST = "127.0.0.1"


def metrics_of(replica: str, requests: int) -> Metrics:
    made = Metrics(replica)
    made.requests.labels("GET", "/healthz", "200").inc(requests)
    return made


@asynccontextmanager
async def listening(
    settings: MetricsSettings, metrics: Metrics, retry_s: float = 60
) -> AsyncIterator[MetricsPort]:
    port = MetricsPort(settings, metrics, retry_s)
    port.start()
    try:
        yield port
    finally:
        await port.aclose()
        await port.aclose()


async def scrape(port: int | None) -> str:
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"http://{HOST}:{port}/metrics?name[]=x")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return answer.raise_for_status().text


async def test_replicas_of_a_node_take_a_port_each_and_name_themselves() -> None:
    settings = MetricsSettings(port=free_port())
    async with (
        listening(settings, metrics_of("one", 3)) as one,
        listening(settings, metrics_of("two", 5)) as two,
    ):
        await asyncio.gather(one.ready.wait(), two.ready.wait())
        seen = {}
        for text in (await scrape(one.port), await scrape(two.port)):
            for family in text_string_to_metric_families(text):
                for sample in family.samples:
                    assert sample.labels["replica"] in ("one", "two"), sample
                    if sample.name == "atalaia_http_requests_total":
                        seen[sample.labels["replica"]] = sample.value
        assert settings.port is not None
        assert {one.port, two.port} <= set(range(settings.port, settings.port + settings.ports))

    assert seen == {"one": 3, "two": 5}


async def test_it_waits_for_a_port_of_its_range() -> None:
    with socket.create_server((HOST, free_port())) as taken:
        settings = MetricsSettings(port=taken.getsockname()[1], ports=1)
        async with listening(settings, metrics_of("late", 1), retry_s=0.01) as late:
            # Not for time: each round ends in a sleep, so this lets several go by.
            for _ in range(5):
                await asyncio.sleep(0.01)
            assert late.port is None
            taken.close()
            await late.ready.wait()
            assert late.port == settings.port


async def test_without_a_port_nothing_listens() -> None:
    async with listening(MetricsSettings(port=None), Metrics()) as none:
        await asyncio.sleep(0)
        assert (none.port, none.ready.is_set()) == (None, False)


async def test_everything_but_a_scrape_is_refused() -> None:
    async with listening(MetricsSettings(port=free_port()), Metrics()) as port:
        await port.ready.wait()
        async with httpx.AsyncClient(base_url=f"http://{HOST}:{port.port}") as client:
            for method, path, status in (
                ("GET", "/", 404), ("GET", "/v1/cameras", 404), ("POST", "/metrics", 405),
            ):  # fmt: skip
                assert (await client.request(method, path)).status_code == status
            long = {"X-Long": "x" * 2 * MAX_HEAD_BYTES}
            assert (await client.get("/metrics", headers=long)).status_code == 431
        assert "atalaia_http_requests" in await scrape(port.port)


async def test_who_asks_nothing_keeps_nobody_out_for_long() -> None:
    before = metrics_port.EXCHANGE_S
    metrics_port.EXCHANGE_S = 0.5
    try:
        async with listening(MetricsSettings(port=free_port()), Metrics()) as port:
            await port.ready.wait()
            silent = [await asyncio.open_connection(HOST, port.port) for _ in range(MAX_OPEN)]
            # Each of them is cut off, without having been answered.
            assert {await reader.read() for reader, _ in silent} <= {b""}
            assert "atalaia_http_requests" in await scrape(port.port)
            for _, writer in silent:
                writer.close()
    finally:
        metrics_port.EXCHANGE_S = before


async def test_one_too_many_at_once_is_told_so() -> None:
    async with listening(MetricsSettings(port=free_port()), Metrics()) as port:
        await port.ready.wait()
        held = [await asyncio.open_connection(HOST, port.port) for _ in range(MAX_OPEN)]
        # The first bytes of each are there, so all of them are being read.
        for _, writer in held:
            writer.write(b"GET ")
            await writer.drain()
        reader, writer = await asyncio.open_connection(HOST, port.port)
        assert (await reader.readline()).startswith(b"HTTP/1.1 503 ")
        for _, each in [*held, (reader, writer)]:
            each.close()


async def test_the_apis_own_port_can_refuse(world: World) -> None:
    settings = world.deps.settings
    closed = settings.api.model_copy(update={"metrics": MetricsSettings(public=False)})
    deps = replace(world.deps, settings=settings.model_copy(update={"api": closed}))
    async with served(create_app(deps)) as url, httpx.AsyncClient(base_url=url) as anonymous:
        body = problem(await anonymous.get("/metrics"), 404, "not-found")
        assert "api.metrics" in str(body["hint"])
        assert (await anonymous.get("/healthz")).status_code == 200
