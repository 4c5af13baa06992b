"""Camera groups in the records: what a limited store sees, what groups may be, who is limited."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from cluster.core.roles import Role
from cluster.stores.db import (
    AlarmQuery,
    Database,
    ObjectQuery,
    Principal,
    TenantTracks,
    User,
    UserChanges,
    downgrade,
    groups,
    merged,
    migrate,
)
from cluster.stores.db.models import TenantOwned
from cluster.stores.db.scope import CAMERA_OF, OF_NO_CAMERA
from pipelines.clock import ManualClock
from pipelines.domain import Segment
from pipelines.errors import ConflictError, InputError, NotFoundError
from tests.factories import (
    CIPHER,
    T0_US,
    make_alarm,
    make_camera,
    make_path,
    make_rule,
    make_sighting,
)

HIDDEN = "vault"
END_US = T0_US + 3_600_000_000
HASH = SecretStr("a hash")


def segment(camera: str, number: int = 0) -> Segment:
    start_us = T0_US + number * 10_000_000
    return Segment(
        camera=camera, start_us=start_us, end_us=start_us + 10_000_000, origin_us=start_us,
        codec="h264", width=64, height=48, frames=250, audio=None, size=1, sha256="0" * 64,
        blob=f"recordings/{camera}/{number}.mp4", masked=False, note="",
    )  # fmt: skip


async def fill(database: Database, camera: str) -> UUID:
    """Two of everything of one camera. Returns the id of its job."""
    records = database.tenant("acme")
    await records.add_camera(make_camera(id=camera))
    await records.add_rule(camera, make_rule())
    await records.record_alarms([make_alarm(n, camera=camera) for n in range(2)])
    tracks = database.tracks("acme")
    seen = [make_sighting(n, camera=camera, track=f"{camera}-{n}") for n in range(2)]
    await tracks.record_objects(seen)
    paths = [make_path(n, camera=camera, track=f"{camera}-{n}") for n in range(2)]
    await tracks.record_paths(paths)
    for number in range(2):
        await database.recordings("acme").add(segment(camera, number))
    return (await database.jobs("acme").add("reprocess", {"camera": camera})).id


@dataclass
class Filled:
    """Both cameras are full; the group `door` has `gate` alone."""

    database: Database
    jobs: dict[str, UUID] = field(default_factory=dict)


@pytest.fixture
async def filled(database: Database) -> Filled:
    jobs = {camera: await fill(database, camera) for camera in ("gate", HIDDEN)}
    await database.groups("acme").add("door", "Door", ["gate"])
    return Filled(database, jobs)


def cameras_in(found: Any) -> set[str]:
    """Every camera that is named in something."""
    return {camera for camera in ("gate", HIDDEN) if camera in repr(found)}


Ask = Callable[[Database, tuple[str, ...] | None], Awaitable[Any]]


async def path_pages(store: TenantTracks, camera: str) -> list[Any]:
    return [page async for page in store.path_points(camera, T0_US, END_US)]


LISTS: dict[str, Ask] = {
    "cameras": lambda d, g: d.tenant("acme", g).cameras(),
    "alarms": lambda d, g: d.tenant("acme", g).alarms(AlarmQuery()),
    "recordings": lambda d, g: d.recordings("acme", g).between(None, 0, END_US, limit=9),
    "pages": lambda d, g: d.recordings("acme", g).page(None, 0, END_US, limit=9, cursor=None),
    "objects": lambda d, g: d.tracks("acme", g).objects(ObjectQuery()),
    "counts": lambda d, g: d.tracks("acme", g).counts(T0_US, END_US),
    "jobs": lambda d, g: d.jobs("acme", g).jobs(),
    "under way": lambda d, g: d.jobs("acme", g).under_way(),
}

NAMED: dict[str, Ask] = {
    "camera": lambda d, g: d.tenant("acme", g).camera(HIDDEN),
    "known": lambda d, g: d.tenant("acme", g).check_camera_known(HIDDEN),
    "rules": lambda d, g: d.tenant("acme", g).rules(HIDDEN),
    "alarm": lambda d, g: d.tenant("acme", g).alarm(make_alarm(0, camera=HIDDEN).id),
    "acknowledge": lambda d, g: d.tenant("acme", g).acknowledge(
        make_alarm(0, camera=HIDDEN).id, "key:x", 1
    ),
    "remove camera": lambda d, g: d.tenant("acme", g).remove_camera(HIDDEN),
    "remove rule": lambda d, g: d.tenant("acme", g).remove_rule(HIDDEN, "yard"),
    "object": lambda d, g: d.tracks("acme", g).object(f"{HIDDEN}-0"),
    "object of camera": lambda d, g: d.tracks("acme", g).object(f"{HIDDEN}-0", HIDDEN),
}

EMPTY: dict[str, Ask] = {
    "alarms": lambda d, g: d.tenant("acme", g).alarms_between(HIDDEN, 0, END_US),
    "recordings": lambda d, g: d.recordings("acme", g).between(HIDDEN, 0, END_US, limit=9),
    "paths": lambda d, g: d.tracks("acme", g).paths(HIDDEN, 0, END_US),
    "trajectory": lambda d, g: d.tracks("acme", g).trajectory(HIDDEN, f"{HIDDEN}-0"),
    "points": lambda d, g: path_pages(d.tracks("acme", g), HIDDEN),
    "objects": lambda d, g: d.tracks("acme", g).counts(T0_US, END_US, camera=HIDDEN),
}


async def test_lists_hold_only_cameras_of_the_groups(filled: Filled) -> None:
    database = filled.database
    for name, ask in LISTS.items():
        assert cameras_in(await ask(database, ("door",))) == {"gate"}, name
        assert cameras_in(await ask(database, ("gone",))) == set(), name
        assert cameras_in(await ask(database, ())) == set(), name
        assert cameras_in(await ask(database, None)) == {"gate", HIDDEN}, name


async def test_what_is_of_another_camera_is_not_there(filled: Filled) -> None:
    for name, ask in NAMED.items():
        with pytest.raises(NotFoundError):
            pytest.fail(f"{name}: {await ask(filled.database, ('door',))}")
    records = filled.database.tenant("acme")
    assert len(await records.rules(HIDDEN)) == 1
    assert (await records.alarm(make_alarm(0, camera=HIDDEN).id)).state == "new"


async def test_nothing_is_found_of_another_camera(filled: Filled) -> None:
    for name, ask in EMPTY.items():
        assert not list(await ask(filled.database, ("door",))), name
        assert list(await ask(filled.database, None)), name


async def test_jobs_of_other_cameras_are_not_there_but_count(filled: Filled) -> None:
    jobs = filled.database.jobs("acme", ("door",))
    with pytest.raises(NotFoundError):
        await jobs.job(filled.jobs[HIDDEN])
    assert await jobs.report(filled.jobs[HIDDEN], 0.5) is False
    assert await jobs.report(filled.jobs["gate"], 0.5) is True
    with pytest.raises(ConflictError, match="2 jobs"):
        await jobs.add("reprocess", {"camera": "gate"}, at_most=2)


async def test_pages_are_full_and_end(filled: Filled) -> None:
    """Narrowed in the query, not behind it."""
    records = filled.database.tenant("acme", ("door",))
    first = await records.alarms(AlarmQuery(limit=1))
    second = await records.alarms(AlarmQuery(limit=1, cursor=first.next_cursor))
    ids = [record.alarm.id for page in (first, second) for record in page.items]
    assert ids == [make_alarm(1).id, make_alarm(0).id]
    assert second.next_cursor is None


@pytest.mark.parametrize("few", [0, 1, 3, 40])
async def test_pages_are_the_same_however_they_are_read(
    database: Database, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    """Merged, or all in the order of time; and another tenant with the same names between."""
    monkeypatch.setattr(merged, "FEW", few)
    cameras = ("gate", "yard", HIDDEN)
    for tenant in ("acme", "globex"):
        for camera in cameras:
            await database.tenant(tenant).add_camera(make_camera(tenant, camera))
        # Alarms of different cameras at the same moment, and of one camera at several.
        alarms = [
            make_alarm(n // 4, tenant, camera=cameras[n % 3], id=UUID(int=n)) for n in range(40)
        ]
        await database.tenant(tenant).record_alarms(alarms)
        seen = [
            make_sighting(n // 4, tenant, camera=cameras[n % 3], track=f"t{n}") for n in range(40)
        ]
        await database.tracks(tenant).record_objects(seen)
    await database.groups("acme").add("a", "A", ["gate"])
    await database.groups("acme").add("b", "B", ["gate", "yard"])
    visible = [n for n in range(40) if n % 3 != 2]

    records, tracks = database.tenant("acme", ("a", "b")), database.tracks("acme", ("a", "b"))
    found, cursor = [], None
    while True:
        page = await records.alarms(AlarmQuery(limit=7, cursor=cursor))
        found += [record.alarm.id.int for record in page.items]
        if (cursor := page.next_cursor) is None:
            break
    assert found == sorted(visible, key=lambda n: (n // 4, n), reverse=True)

    objects, cursor = [], None
    while True:
        part = await tracks.objects(ObjectQuery(limit=7, cursor=cursor))
        objects += [record.sighting.track for record in part.items]
        if (cursor := part.next_cursor) is None:
            break
    order = sorted(visible, key=lambda n: (n // 4, cameras[n % 3], f"t{n}"), reverse=True)
    assert objects == [f"t{n}" for n in order]
    assert (await records.alarms(AlarmQuery(camera=HIDDEN))).items == []
    assert len((await records.alarms(AlarmQuery(camera="yard"))).items) == 13


async def test_a_limited_store_counts_what_it_sees(filled: Filled) -> None:
    counts = await filled.database.tenant("acme", ("door",)).counts()
    assert (counts.cameras, counts.rules) == (1, 1)


async def test_groups_of_another_tenant_show_nothing(filled: Filled) -> None:
    await filled.database.groups("globex").add("all", "All", [])
    await filled.database.tenant("globex").add_camera(make_camera("globex", "gate"))
    await filled.database.groups("globex").change("all", cameras=["gate"])
    assert await filled.database.tenant("acme", ("all",)).cameras() == []
    assert [c.tenant for c in await filled.database.tenant("globex", ("all",)).cameras()] == [
        "globex"
    ]


def test_every_table_of_a_tenant_says_whose_camera_its_rows_are_of() -> None:
    """A new table belongs into one of the two, or it is not narrowed."""
    named = {table.__tablename__ for table in TenantOwned.__subclasses__()}  # type: ignore[attr-defined]
    narrowed = {table.__tablename__ for table in CAMERA_OF}  # type: ignore[attr-defined]
    assert narrowed | OF_NO_CAMERA == named
    assert not narrowed & OF_NO_CAMERA


# ------------------------------------------------------------ what may be seen together


SLUGS = ("a", "b", "c", "d", "e")


@pytest.fixture(scope="module")
def five_cameras(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with acme's cameras `a` to `e`, to be copied."""
    path = tmp_path_factory.mktemp("union") / "made.db"

    async def make() -> None:
        await migrate(f"sqlite+aiosqlite:///{path}")
        async with Database(f"sqlite+aiosqlite:///{path}", cipher=CIPHER) as database:
            await database.platform().ensure_tenant("acme", "Acme")
            for camera in SLUGS:
                await database.tenant("acme").add_camera(make_camera(id=camera))

    asyncio.run(make())
    return path


@settings(max_examples=25, deadline=None)
@given(
    st.dictionaries(st.sampled_from(("g1", "g2", "g3")), st.frozensets(st.sampled_from(SLUGS))),
    st.lists(st.sampled_from(("g1", "g2", "g3", "gone")), max_size=4),
)
def test_who_has_several_groups_sees_their_cameras_together(
    five_cameras: Path, made: dict[str, frozenset[str]], named: list[str]
) -> None:
    path = five_cameras.with_name("copy.db")
    for leftover in five_cameras.parent.glob("copy.db*"):
        leftover.unlink()
    shutil.copy(five_cameras, path)
    wanted = frozenset[str]().union(*(made.get(group, frozenset()) for group in named))
    asyncio.run(check_union(path, made, tuple(named), wanted))


async def check_union(
    path: Path, made: dict[str, frozenset[str]], named: tuple[str, ...], wanted: frozenset[str]
) -> None:
    async with Database(f"sqlite+aiosqlite:///{path}", cipher=CIPHER) as database:
        for group, cameras in made.items():
            await database.groups("acme").add(group, group, cameras)
        visible = database.visible("acme", named)
        assert await visible.all() == wanted
        assert await visible.among(SLUGS) == wanted
        assert {c.id for c in await database.tenant("acme", named).cameras()} == wanted


async def test_who_is_not_limited_sees_all(database: Database) -> None:
    visible = database.visible("acme", None)
    assert await visible.all() is None
    assert await visible.among(["any"]) == {"any"}


# ------------------------------------------------------------ groups


async def test_a_group_from_the_first_day_to_the_last(filled: Filled) -> None:
    known = filled.database.groups("acme")
    group = await known.change("door", name="Doors", cameras=["gate", HIDDEN])
    assert (group.name, group.cameras) == ("Doors", ("gate", HIDDEN))
    # A camera that was removed stays, as its alarms do.
    await filled.database.tenant("acme").remove_camera(HIDDEN)
    assert (await known.change("door", cameras=[HIDDEN])).cameras == (HIDDEN,)
    alarms = await filled.database.tenant("acme", ("door",)).alarms(AlarmQuery())
    assert cameras_in(alarms) == {HIDDEN}
    assert [g.id for g in await known.groups()] == ["door"]
    await known.remove("door")
    assert await known.groups() == []
    with pytest.raises(NotFoundError):
        await known.group("door")


async def test_what_is_no_group(filled: Filled) -> None:
    many = [f"c-{n}" for n in range(groups.MAX_CAMERAS + 1)]
    wrong: list[tuple[str, str, list[str], type[Exception]]] = [
        ("door", "Other", [], ConflictError),
        ("other", "Door", [], ConflictError),
        ("Not A Slug", "Other", [], InputError),
        ("other", "", [], InputError),
        ("other", "bell\a", [], InputError),
        ("other", "Other", ["nobody"], NotFoundError),
        ("other", "Other", many, InputError),
    ]
    known = filled.database.groups("acme")
    for group, name, cameras, error in wrong:
        with pytest.raises(error):
            await known.add(group, name, cameras)
    assert [g.id for g in await known.groups()] == ["door"]


async def test_groups_are_bounded(filled: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "MAX_GROUPS", 2)
    monkeypatch.setattr(groups, "MAX_MEMBERS", 2)
    known = filled.database.groups("acme")
    with pytest.raises(InputError, match="at most 2"):
        await known.add("more", "More", ["gate", HIDDEN])
    await known.add("more", "More", [HIDDEN])
    await known.change("more", cameras=["gate"])
    with pytest.raises(InputError):
        await known.change("more", cameras=["gate", HIDDEN])
    with pytest.raises(ConflictError, match="2 groups"):
        await known.add("third", "Third", [])


# ------------------------------------------------------------ who is limited


async def user_of(database: Database, role: Role, *limits: str) -> User:
    given_groups = list(limits) or None
    return await database.users("acme").add("ana@acme.example", "Ana", role, HASH, given_groups)


async def test_a_key_is_limited_and_stays_so(filled: Filled, clock: ManualClock) -> None:
    platform = filled.database.platform()
    key = await filled.database.keys("acme").issue("wall", Role.VIEWER, None, ["door"])
    fresh = await filled.database.keys("acme").rotate_key(key.id, 60_000_000)
    for issued in (key, fresh):
        assert issued.info.groups == ("door",)
        assert await platform.find_key(issued.secret) == Principal(
            "acme", Role.VIEWER, f"key:{issued.id}", groups=("door",)
        )
    free = await filled.database.keys("acme").issue("all", Role.VIEWER)
    found = await platform.find_key(free.secret)
    assert found is not None
    assert found.groups is None


async def test_a_user_is_limited_until_it_is_changed(filled: Filled) -> None:
    users = filled.database.users("acme")
    user = await user_of(filled.database, Role.VIEWER, "door")
    assert user.groups == ("door",)
    assert (await users.change(user.id, UserChanges(name="Bea"))).groups == ("door",)
    assert (await users.change(user.id, UserChanges(role=Role.ANALYST))).groups == ("door",)
    with pytest.raises(InputError, match="admin"):
        await users.change(user.id, UserChanges(role=Role.ADMIN))
    assert (await users.user(user.id)).role is Role.ANALYST
    freed = await users.change(user.id, UserChanges(role=Role.ADMIN, groups=None))
    assert (freed.role, freed.groups) == (Role.ADMIN, None)


async def test_limits_that_cannot_be(filled: Filled) -> None:
    database = filled.database
    await database.groups("globex").add("gone", "Theirs", [])
    wrong: list[tuple[Role, list[str], type[Exception]]] = [
        (Role.ADMIN, ["door"], InputError),
        (Role.VIEWER, [], InputError),
        (Role.VIEWER, ["gone"], NotFoundError),
        (Role.VIEWER, ["door", "gone"], NotFoundError),
        (Role.VIEWER, [f"g-{n}" for n in range(groups.MAX_GROUPS_EACH + 1)], InputError),
    ]
    for role, limits, error in wrong:
        with pytest.raises(error):
            await database.keys("acme").issue("x", role, None, limits)
        with pytest.raises(error):
            await database.platform().create_key("acme", "x", role, None, limits)
        with pytest.raises(error):
            await database.users("acme").add("a@acme.example", "A", role, HASH, limits)
    assert await database.keys("acme").keys() == []
    assert await database.users("acme").users() == []


async def test_a_key_of_the_platform_has_no_groups(filled: Filled) -> None:
    with pytest.raises(InputError):
        await filled.database.platform().create_key(None, "x", None, None, ["door"])


async def test_a_group_in_use_stays(filled: Filled, clock: ManualClock) -> None:
    known, keys = filled.database.groups("acme"), filled.database.keys("acme")
    user = await user_of(filled.database, Role.VIEWER, "door")
    revoked = await keys.issue("a", Role.VIEWER, None, ["door"])
    await keys.issue("b", Role.VIEWER, clock.now_us() + 1_000_000, ["door"])
    group = await known.group("door")
    assert (group.users, group.keys) == (1, 2)
    with pytest.raises(ConflictError, match="1 users and 2 keys"):
        await known.remove("door")
    await filled.database.users("acme").remove(user.id)
    await keys.revoke_key(revoked.id)
    with pytest.raises(ConflictError, match="0 users and 1 keys"):
        await known.remove("door")
    clock.advance(2)
    await known.remove("door")


async def test_on_the_way_back_who_is_limited_is_locked_out(
    filled: Filled, database_url: str
) -> None:
    """An earlier version would show all cameras."""
    database = filled.database
    key = await database.keys("acme").issue("wall", Role.VIEWER, None, ["door"])
    free = await database.keys("acme").issue("all", Role.VIEWER)
    await user_of(database, Role.VIEWER, "door")
    await downgrade(database_url, "0007")
    await migrate(database_url)
    assert await database.platform().find_key(key.secret) is None
    assert await database.platform().find_key(free.secret) is not None
    [user] = await database.users("acme").users()
    assert user.disabled
    # Whose jobs are whose is found again in what was asked.
    await database.groups("acme").add("door", "Door", ["gate"])
    [job] = await database.jobs("acme", ("door",)).jobs()
    assert job.id == filled.jobs["gate"]
