"""What a route gets is bound to its tenant already, and routes take stores from nowhere else."""

from __future__ import annotations

import ast
import inspect
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from pydantic import SecretStr

from cluster.clips.coverage import Span
from cluster.core.holders import Credential, CredentialKind, Holder
from cluster.core.roles import Role
from cluster.media.viewer_ids import ViewerIds
from cluster.stores.db import Database, Principal
from pipelines.clock import ManualClock
from pipelines.domain import EVERY_SIGHTING, Alarm, Letterbox, LetterboxedFrame, WorkOwner
from serve.api import media, model
from serve.api.app import ROUTERS
from serve.api.quotas.limits import Quota
from serve.api.quotas.slots import TenantSlots
from serve.api.scope import TenantScope
from tests.factories import make_alarm

SHARED_STORES = {
    "database", "redis", "memory", "blobs", "controller", "addresses", "jobs", "detector",
    "embedder",
}  # fmt: skip
"""Parts of `Deps` through which one tenant's request could reach another tenant's things."""
OF_NO_TENANT = (model, media)
"""Routes of the platform, and of signed links, which name the tenant that they are for."""


@dataclass
class Recorder:
    """Stands for every shared part: notes the arguments of each call."""

    calls: list[tuple[Any, ...]] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        async def call(*arguments: Any) -> dict[str, Any]:
            self.calls.append((name, *arguments))
            return {}

        return call


class Parts:
    """The state and the deps of an application, as far as a scope uses them."""

    def __init__(self, folder: Path) -> None:
        self.deps = self
        self.evidence = self
        self.database = Database(f"sqlite:///{folder}/a.db", clock=ManualClock())
        self.shared = Recorder()
        self.memory = self.addresses = self.announcer = self.jobs = self.shared
        self.detector = self.embedder = self.shared
        self.redis: Any = None
        self.links: Any = self
        self.alarm_feeds: Any = self
        self.decoder: Any = self
        self.hider: Any = self
        self.quotas: Any = self
        self.viewer_ids = ViewerIds(SecretStr("s" * 32))
        self.named: list[str] = []

    def blobs(self, tenant: str) -> str:
        return f"blobs of {tenant}"

    def link(
        self,
        tenant: str,
        key: str,
        media_type: str,
        filename: str,
        *,
        by: Principal,
        camera: str,
        shows: Any,
    ) -> str:
        return f"{tenant}/{key} for {by.actor}, {camera}"

    async def run(self, tenant: str, call: Any) -> str:
        return f"turn of {tenant}"

    def subscribe(self, tenant: str, after: str | None, *, at_most: int) -> str:
        return f"stream of {tenant}, of {at_most}"

    def listeners(self, tenant: str) -> str:
        return f"listeners of {tenant}"

    async def decode(self, upload: Any, prepare: Any, max_side: Any, *, tenant: str) -> str:
        return f"picture of {tenant}"

    async def limits(self, tenant: str) -> str:
        return f"limits of {tenant}"

    async def rates(self, tenant: str, actor: str, limits: Any) -> str:
        return f"rates of {tenant} and {actor}"

    def under_way(self, tenant: str) -> str:
        return f"requests of {tenant}"

    def taken(self, slots: Any, quota: Any, tenant: str, limits: Any) -> str:
        return f"slot of {tenant}"

    def recent(self, tenant: str, alarm: UUID) -> Alarm:
        return make_alarm(1, tenant)


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    return Parts(tmp_path)


@pytest.fixture
def scope(parts: Parts) -> TenantScope:
    state: Any = parts
    return TenantScope("acme", Principal("acme", Role.ADMIN, "key:k1"), state)


@pytest.fixture
def limited(parts: Parts) -> TenantScope:
    """A scope of the groups `a` and `b`, which do not exist, so that no camera is seen."""
    state: Any = parts
    return TenantScope("acme", Principal("acme", Role.VIEWER, "key:k1", groups=("a", "b")), state)


def test_stores_that_are_made_for_a_tenant_are_made_for_this_one(scope: TenantScope) -> None:
    for store in (
        *(scope.records, scope.recordings, scope.tracks, scope.jobs, scope.retention),
        *(scope.groups, scope.visible, scope.every_job, scope.erasures, scope.coverage),
    ):
        assert store.tenant == "acme"
    assert (scope.keys.tenant, scope.users.tenant) == ("acme", "acme")
    assert scope.anonymisation.tenant == "acme"
    assert scope.audit.chain == "acme"
    blobs: Any = scope.blobs
    assert blobs == "blobs of acme"


async def test_shared_parts_are_asked_for_this_tenant_only(
    scope: TenantScope, parts: Parts
) -> None:
    vector = np.zeros(3, np.float32)
    await scope.memory.search(vector, 5, EVERY_SIGHTING)
    await scope.memory.vector("gate", "t-1")
    await scope.addresses.check("192.0.2.1", 554)
    await scope.announcer.changed("gate")
    await scope.processes.start("s-1", "pipelines.reprocess", "--camera", "gate")
    await scope.processes.stop("s-1")
    await scope.processes.ending("s-1")
    *calls, (submit, submission, argv), stop, ending = parts.shared.calls
    assert (stop, ending) == (("stop", "s-1"), ("ending", "s-1"))
    assert calls == [
        ("search", "acme", vector, 5, EVERY_SIGHTING, None),
        ("vector", "acme", "gate", "t-1"),
        ("resolve", "192.0.2.1", 554, "acme"),
        ("changed", "acme", "gate"),
    ]
    assert (submit, submission) == ("submit", "s-1")
    assert argv[1:] == ["-m", "pipelines.reprocess", "--tenant", "acme", "--camera", "gate"]
    stream: Any = scope.alarm_feed.subscribe(None, at_most=7)
    assert stream == "stream of acme, of 7"
    listeners: Any = scope.alarm_feed.listeners()
    assert listeners == "listeners of acme"
    found: Any = await scope.alarm_feed.recent(UUID(int=1))
    assert found.tenant == "acme"
    link = scope.links.link("clips/1.mp4", "video/mp4", "gate")
    assert link == "acme/clips/1.mp4 for key:k1, "


def test_links_of_who_is_limited_say_whose_file_it_is(limited: TenantScope) -> None:
    link = limited.links.link("clips/1.mp4", "video/mp4", "gate")
    assert link == "acme/clips/1.mp4 for key:k1, gate"


async def test_quotas_are_those_of_this_tenant_and_key(scope: TenantScope) -> None:
    any_: Any = None
    found: list[Any] = [
        await scope.decoder.decode(any_, any_),
        await scope.hider.run(any_),
        await scope.quotas.limits(),
        await scope.quotas.rates(any_),
        scope.quotas.under_way(),
        scope.quotas.slot(any_, Quota.EXPORTS, {}),
    ]
    assert found == [
        "picture of acme",
        "turn of acme",
        "limits of acme",
        "rates of acme and key:k1",
        "requests of acme",
        "slot of acme",
    ]
    slots = TenantSlots()
    with slots.taken("acme"), slots.taken("globex"):
        assert scope.quotas.held(slots) == 1


async def test_models_are_told_whose_work_they_do(scope: TenantScope, parts: Parts) -> None:
    pixels = np.zeros((384, 640, 3), np.uint8)
    image = LetterboxedFrame(pixels, Letterbox.fit((640, 384), (640, 384)))
    await scope.detector.detect_image(image)
    await scope.embedder.embed_image(pixels)
    assert parts.shared.calls == [
        ("detect_image", image, WorkOwner("acme")),
        ("embed_image", pixels, WorkOwner("acme")),
    ]


async def test_statuses_are_of_this_tenant(
    scope: TenantScope, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = Recorder()
    monkeypatch.setattr("serve.api.scope.CameraStatusBoard", lambda _: board)
    assert await scope.statuses.all() == {}
    assert await scope.statuses.of("gate") is None
    assert board.calls == [("get_all", "acme")] * 2


def test_values_that_name_a_tenant_name_this_one(scope: TenantScope) -> None:
    camera = scope.new_camera(id="gate", name="gate", url="rtsp://192.0.2.1/")
    assert (camera.tenant, camera.id) == ("acme", "gate")
    with pytest.raises(TypeError):
        scope.new_camera(tenant="globex", id="gate", name="gate", url="rtsp://192.0.2.1/")
    request = scope.export_request("gate", Span(1, 2))
    assert (request.tenant, request.camera, request.by) == ("acme", "gate", "key:k1")
    assert scope.actor == "key:k1"
    viewer = ViewerIds(SecretStr("s" * 32)).read(scope.new_viewer())
    assert viewer == Holder(Credential("acme", CredentialKind.KEY, "k1"), "admin")


def test_a_scope_does_not_say_whose_it_is(scope: TenantScope) -> None:
    """So that no route can hand a tenant on."""
    assert not hasattr(scope, "tenant")


def test_every_store_of_a_scope_is_tried_above() -> None:
    stores = {name for name, kind in vars(TenantScope).items() if isinstance(kind, cached_property)}
    assert stores == {
        "records", "recordings", "tracks", "jobs", "blobs", "memory", "statuses", "addresses",
        "alarm_feed", "announcer", "links", "processes", "detector", "embedder", "audit",
        "retention", "keys", "users", "decoder", "quotas", "groups", "visible", "every_job",
        "erasures", "hider", "anonymisation", "coverage",
    }  # fmt: skip


@pytest.mark.parametrize(
    "module", [m for m in ROUTERS if m not in OF_NO_TENANT], ids=lambda m: m.__name__
)
def test_routes_take_stores_from_their_scope_only(module: Any) -> None:
    tree = ast.parse(inspect.getsource(module))
    taken = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and (
            (isinstance(node.value, ast.Name) and node.value.id == "deps")
            or (isinstance(node.value, ast.Attribute) and node.value.attr == "deps")
        )
    }
    assert not taken & SHARED_STORES
