"""One tenant against another with the same cameras, tracks and vectors, by every method."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeGuard

import pytest

import cluster
from cluster.stores.vectors.embedded import EmbeddedQdrant
from cluster.stores.vectors.tenant import TenantVectors, VectorClient
from pipelines.domain import SightingFilter
from pipelines.erasure import Target
from pipelines.errors import InputError
from pipelines.retention import Window
from tests.factories import make_sighting
from tests.integration.vectors.conftest import DIM

VECTOR = [1.0] * DIM
THEIRS = [make_sighting(n, "globex", camera="gate") for n in range(5)]

# What acme tries. A method without a row here fails `test_every_method_is_tried`.
ATTEMPTS: dict[str, list[Callable[[TenantVectors], Awaitable[Any]]]] = {
    "search": [
        lambda v: v.search(VECTOR, 1000),
        lambda v: v.search(VECTOR, only=SightingFilter(camera="gate")),
        lambda v: v.search(VECTOR, only=SightingFilter(label="person")),
        lambda v: v.search(VECTOR, only=SightingFilter(since_us=0, until_us=2**62)),
        lambda v: v.search(VECTOR, only=SightingFilter(camera="gate", label="person", since_us=0)),
    ],
    "vector": [lambda v: v.vector("gate", "track-0")],
    "count": [lambda v: v.count(), lambda v: v.count("gate")],
    "erase": [lambda v: v.erase("gate"), lambda v: v.erase()],
    "remove": [lambda v: v.remove("gate", Window(0, 2**62), 100)],
    "known": [lambda v: v.known([Target(s.camera, s.track) for s in THEIRS])],
    "read": [lambda v: v.read([Target(s.camera, s.track) for s in THEIRS])],
    "forget": [lambda v: v.forget([Target(s.camera, s.track) for s in THEIRS])],
    "upsert": [
        lambda v: v.upsert([(THEIRS[0], VECTOR)]),
        lambda v: v.upsert([(make_sighting(0, camera="gate"), VECTOR), (THEIRS[1], VECTOR)]),
    ],
}


@pytest.fixture
async def globex(client: VectorClient, collection: str) -> TenantVectors:
    globex = TenantVectors(client, collection, "globex")
    await globex.upsert([(sighting, VECTOR) for sighting in THEIRS])
    return globex


def test_every_method_is_tried() -> None:
    methods = {
        name
        for name, _ in inspect.getmembers(TenantVectors, inspect.iscoroutinefunction)
        if not name.startswith("_")
    }
    assert methods == set(ATTEMPTS)


@pytest.mark.parametrize("method", sorted(ATTEMPTS))
async def test_nothing_of_another_tenant_is_seen_or_changed(
    client: VectorClient, collection: str, globex: TenantVectors, method: str
) -> None:
    for attempt in ATTEMPTS[method]:
        try:
            result = await attempt(TenantVectors(client, collection, "acme"))
        except InputError:
            result = None
        assert not result, "something was seen"
    found = sorted((m.sighting for m in await globex.search(VECTOR)), key=lambda s: s.track)
    assert found == THEIRS


async def test_the_same_camera_and_track_are_two_objects(
    client: VectorClient, collection: str, globex: TenantVectors
) -> None:
    acme = TenantVectors(client, collection, "acme")
    ours = make_sighting(0, camera="gate")
    await acme.upsert([(ours, VECTOR)])
    assert [match.sighting for match in await acme.search(VECTOR)] == [ours]
    assert await globex.count() == len(THEIRS)
    await acme.erase()
    assert await globex.count() == len(THEIRS)


@pytest.mark.parametrize("tenant", ["", "*", "acme globex", "Acme", "a.b"])
def test_a_tenant_must_be_a_slug(client: VectorClient, tenant: str) -> None:
    with pytest.raises(InputError):
        TenantVectors(client, "x", tenant)


def test_no_other_module_reaches_qdrant() -> None:
    """Qdrant cannot force a tenant's filter: one module does, and nobody goes round it. The others
    of its package open clients and make collections."""
    root = Path(str(cluster.__file__)).parent.parent
    offenders = [
        str(path.relative_to(root))
        for package in ("pipelines", "cluster", "agents", "serve")
        for path in (root / package).rglob("*.py")
        if {"qdrant_client", "qdrant_edge"} & _imports(path)
        or ("stores.vectors.embedded" in path.read_text() and path.parent.name != "vectors")
    ]
    folder = "cluster/stores/vectors"
    assert sorted(offenders) == [
        f"{folder}/{name}.py" for name in ("client", "collection", "embedded", "errors", "tenant")
    ]
    reaching = {
        path.name
        for path in (root / folder).glob("*.py")
        if POINTS & {n.attr for n in ast.walk(ast.parse(path.read_text())) if _called(n)}
    }
    assert reaching == {"tenant.py"}


POINTS = {
    name
    for name, method in inspect.getmembers(EmbeddedQdrant, inspect.iscoroutinefunction)
    if not name.startswith("_") and "points" in str(inspect.signature(method))
} | {"scroll", "count", "query_points"}
"""Methods of a client that read or change points."""


def _called(node: ast.AST) -> TypeGuard[ast.Attribute]:
    """`client.method` or `self._client.method`, of whatever client."""
    return isinstance(node, ast.Attribute) and "client" in ast.unparse(node.value)


def _imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names
