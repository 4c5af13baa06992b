"""The API against its own OpenAPI document: generated requests, good and bad.

No answer may be a 5xx, and every answer must be one that the document describes.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks
from starlette.routing import Route

from serve.api.app import ROUTERS
from tests.factories import make_alarm, make_camera, make_path, make_rule, make_sighting
from tests.integration.api.world import World, make_settings, open_world

# The stream never ends, and the pages are not of the API.
ENDLESS = "/v1/alarms/stream"

EXAMPLES = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory, valkey: str, migrated: Path
) -> Iterator[World]:
    """An API in a thread, with a camera, a rule, alarms and objects: not all is a 404."""
    ready, stop = threading.Event(), asyncio.Event()
    worlds: list[World] = []
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        folder = tmp_path_factory.mktemp("schema")
        async with open_world(make_settings(folder, valkey), migrated) as world:
            records = world.database.tenant("acme")
            await records.add_camera(make_camera())
            await records.add_rule("gate", make_rule())
            await records.record_alarms([make_alarm(n) for n in range(3)])
            await world.database.tracks("acme").record_objects([make_sighting(n) for n in range(3)])
            await world.database.tracks("acme").record_paths([make_path(n) for n in range(3)])
            worlds.append(world)
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(30)
    yield worlds[0]
    loops[0].call_soon_threadsafe(stop.set)
    thread.join(30)


@pytest.fixture
def document(running: World) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_url(f"{running.url}/openapi.json")


def routes() -> list[tuple[str, str]]:
    return sorted(
        (route.path.replace(":path", ""), method)
        for module in ROUTERS
        for route in module.router.routes
        if isinstance(route, Route) and route.path != ENDLESS
        for method in route.methods or ()
    )


def check(case: schemathesis.Case, key: str) -> None:
    case.call_and_validate(
        headers={"Authorization": f"Bearer {key}"},
        timeout=20,
        checks=[
            not_a_server_error,
            checks.status_code_conformance,
            checks.content_type_conformance,
            checks.response_headers_conformance,
            checks.response_schema_conformance,
            checks.unsupported_method,
        ],
    )


@pytest.mark.parametrize(
    ("path", "method", "mode"),
    [
        (*route, mode)
        for route in routes()
        for mode in GenerationMode
        # Where nothing can be sent, nothing wrong can be sent.
        if route[0].startswith("/v1/") or mode is GenerationMode.POSITIVE
    ],
)
def test_any_request_is_answered_as_documented(
    document: schemathesis.BaseSchema, running: World, path: str, method: str, mode: GenerationMode
) -> None:
    who = "platform" if path.startswith(("/v1/tenants", "/v1/keys")) else "acme"
    operation = document[path][method]
    cases = operation.as_strategy(generation_mode=mode)

    @EXAMPLES
    @given(case=cases)
    def holds(case: schemathesis.Case) -> None:
        check(case, running.keys[who])

    holds()
