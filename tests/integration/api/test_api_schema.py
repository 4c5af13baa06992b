"""The API against its own OpenAPI document: generated requests, good and bad, as each role.

No answer may be a 5xx, and every answer must be one that the document describes. The short form is
the same in every run; `make fuzz` goes on for as long as it is told, with other requests each time.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import CheckContext, not_a_server_error
from schemathesis.core.transport import Response
from schemathesis.generation.stateful.state_machine import APIStateMachine
from schemathesis.specs.openapi import checks
from starlette.routing import Route

from cluster.core.roles import GRANTS, Role
from serve.api.app import ROUTERS
from serve.api.middleware import ANY_HOST
from tests.integration.api.leak_ids import Kind, Operation, operations
from tests.integration.api.leak_requests import Ids
from tests.integration.api.leak_world import ATTACKER, VICTIM, holder, plant
from tests.integration.api.world import World, make_settings, open_world

# The stream never ends, and the pages are not of the API.
ENDLESS = "/v1/alarms/stream"

# Of each operation, good and bad ones. Every one is sent by each role that may do it.
EXAMPLES = 12
# One in so many is also sent by who may not: that answer comes before anything is read.
REFUSED = 6

MINUTES = float(os.environ.get("FUZZ_MINUTES", "0"))
"""How long the long form takes altogether; 0: the short form."""
SEED = int(os.environ.get("FUZZ_SEED", random.randrange(2**32)))

QUIET = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=MINUTES == 0,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@dataclass(frozen=True)
class Running:
    """An API that runs, and ids of things that exist in it."""

    world: World
    ids: Ids

    def known(self, operation: Operation) -> dict[str, str]:
        """Values of the parameters in the address that name something which exists."""
        kinds = {p.name: operation.kind(p) for p in operation.places() if p.where == "path"}
        return {name: self.ids[kind][0] for name, kind in kinds.items() if kind is not None}


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory, valkey: str, migrated: Path
) -> Iterator[Running]:
    """An API in a thread, whose tenant has everything that a tenant can have."""
    ready, stop = threading.Event(), asyncio.Event()
    worlds: list[Running] = []
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        folder = tmp_path_factory.mktemp("schema")
        async with open_world(make_settings(folder, valkey), migrated) as world:
            ids = (await plant(world, ATTACKER)).ids
            link = world.state.evidence.links.link(
                ATTACKER, ids[Kind.PICTURE][0], "image/jpeg", by=await holder(world, ATTACKER)
            )
            more = {Kind.LINK: [link.rpartition("/")[2]]}
            # Limits that the tests change shall not end the tests.
            worlds.append(Running(world, {**ids, **more, Kind.TENANT: [VICTIM]}))
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(30)
    yield worlds[0]
    loops[0].call_soon_threadsafe(stop.set)
    thread.join(30)


@pytest.fixture(scope="module")
def document(running: Running) -> schemathesis.BaseSchema:
    raw = _as_lists(running.world.app.openapi())
    schema = schemathesis.openapi.from_dict(raw)
    schema.config.update(base_url=running.world.url)
    return schema


def _as_lists(schema: Any) -> Any:
    """A copy in which tuples, whose places are all of one kind here, are lists of as many:
    Schemathesis 4.32 writes a tuple in the way of an older standard, and then refuses it."""
    if isinstance(schema, dict):
        copy = {name: _as_lists(member) for name, member in schema.items()}
        if places := copy.pop("prefixItems", None):
            assert all(place == places[0] for place in places)
            copy["items"] = places[0]
        return copy
    return [_as_lists(member) for member in schema] if isinstance(schema, list) else schema


@pytest.fixture(scope="module", autouse=True)
def seeded() -> None:
    if MINUTES:
        sys.stdout.write(f"FUZZ_SEED={SEED}\n")


def routes() -> list[tuple[str, str]]:
    """What removes things comes last, so that they are there for the others."""
    found = {
        (route.path.replace(":path", ""), method)
        for module in ROUTERS
        for route in module.router.routes
        if isinstance(route, Route) and route.path != ENDLESS
        for method in route.methods or ()
    }
    return sorted(found, key=lambda route: (route[1] == "DELETE", route))


TRIED = [
    (*route, mode)
    for route in routes()
    for mode in GenerationMode
    # Where nothing can be sent, nothing wrong can be sent.
    if route[0].startswith("/v1/") or mode is GenerationMode.POSITIVE
]

NOT_LIVE = "/v1/cameras/{camera}/snapshot"
"""Answers with 503 while the camera shows no picture, as the document says."""


def no_failure(ctx: CheckContext, response: Response, case: schemathesis.Case[Any]) -> bool | None:
    """No 5xx, but for the one that says how a camera fares."""
    if response.status_code == 503 and case.path == NOT_LIVE:
        return None
    return not_a_server_error(ctx, response, case)


CHECKS = [
    no_failure,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]


def credentials(world: World) -> dict[str, str]:
    """A key by role; `none`: no key."""
    keys = {str(role): world.keys[f"acme {role}"] for role in Role if role is not Role.PLATFORM}
    return {**keys, "platform": world.keys["platform"], "none": ""}


def who_may(permission: str | None) -> set[str]:
    """The roles that an operation is open to; where it needs nothing, nobody's."""
    if permission is None:
        return {"none"}
    return {str(role) for role, granted in GRANTS.items() if permission in map(str, granted)}


def check(case: schemathesis.Case[Any], key: str) -> None:
    case.call_and_validate(
        headers={"Authorization": f"Bearer {key}"} if key else {}, timeout=20, checks=CHECKS
    )


sometimes = st.integers(1, REFUSED).map(lambda n: n == 1)


def rounds(share: int) -> Iterator[int]:
    """Seeds: one for the short form; for the long one as many as fit into its share of the time."""
    ends = time.monotonic() + MINUTES * 60 / share
    number = SEED if MINUTES else 0
    yield number
    while time.monotonic() < ends:
        number += 1
        yield number


@pytest.mark.parametrize(("path", "method", "mode"), TRIED)
def test_any_request_is_answered_as_documented(
    document: schemathesis.BaseSchema,
    running: Running,
    path: str,
    method: str,
    mode: GenerationMode,
) -> None:
    operation = document[path][method]
    cases = operation.as_strategy(generation_mode=mode)
    raw = operation.definition.raw
    may = who_may(raw.get("x-permission"))
    keys = credentials(running.world)
    known = running.known(Operation(method, path, raw, document.raw_schema))

    def holds(case: schemathesis.Case[Any], everybody: bool, of_something: bool) -> None:
        if of_something and case.path_parameters:
            case.path_parameters |= known
        for role in keys if everybody and "none" not in may else may:
            try:
                check(case, keys[role])
            except BaseException as error:
                error.add_note(f"as {role}")
                raise

    tried = given(case=cases, everybody=sometimes, of_something=st.booleans())
    for number in rounds(len(TRIED) + 1):
        seed(number)(QUIET(tried(holds)))()


def test_what_is_answered_before_a_route_is_documented(running: Running) -> None:
    """Too long an address or header, another server's name, a body that does not come."""
    for operation in operations(running.world.app.openapi()):
        known = {int(status) for status in operation.schema["responses"]}
        assert {414, 431} <= known, operation.name
        assert (421 in known) == (operation.path not in ANY_HOST), operation.name
        assert not operation.schema.get("requestBody") or {408, 413} <= known, operation.name
        assert "{" not in operation.path or 404 in known, operation.name


def test_what_one_request_makes_the_next_ones_use(
    document: schemathesis.BaseSchema, running: Running
) -> None:
    """Sequences: what was made is read, changed, removed, and asked for again."""
    keys = credentials(running.world)

    class Sequences(document.exclude(path=ENDLESS).as_state_machine()):  # type: ignore[misc]
        def get_call_kwargs(self, case: schemathesis.Case[Any]) -> dict[str, object]:
            permission = case.operation.definition.raw.get("x-permission")
            role = "platform" if permission in ("tenant.manage", "model.manage") else "admin"
            return {"headers": {"Authorization": f"Bearer {keys[role]}"}, "timeout": 20}

        def validate_response(
            self, response: object, case: schemathesis.Case[Any], **_: object
        ) -> None:
            case.validate_response(response, checks=[*CHECKS, checks.use_after_free])  # type: ignore[arg-type]

    machine: type[APIStateMachine] = Sequences
    for number in rounds(len(TRIED) + 1):
        bounded = settings(QUIET, max_examples=6, stateful_step_count=8)
        seed(number)(machine)
        machine.run(settings=bounded)
