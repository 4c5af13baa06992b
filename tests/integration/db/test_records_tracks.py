"""Objects and their paths: what is told twice, from two sides or in pieces, is there once."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from cluster.stores.db import Database, ObjectQuery, TenantTracks
from pipelines.domain import AlarmSource, Sighting
from pipelines.erasure import Target
from pipelines.errors import ConflictError, InputError, NotFoundError
from tests.factories import T0_US, make_analysed, make_path, make_sighting

S = 1_000_000


@pytest.fixture
def tracks(database: Database) -> TenantTracks:
    return database.tracks("acme")


async def everything(tracks: TenantTracks) -> list[Any]:
    return [
        (await tracks.objects(ObjectQuery(limit=500))).items,
        [await tracks.paths(camera, 0, T0_US * 2) for camera in ("gate", "yard", "vault")],
        [await tracks.analysed(camera, 0, T0_US * 2) for camera in ("gate", "yard", "vault")],
    ]


async def listed(tracks: TenantTracks, **query: Any) -> list[str]:
    return [item.sighting.track for item in (await tracks.objects(ObjectQuery(**query))).items]


# ---------------------------------------------------------------- paths


async def test_paths_come_back_as_they_were(tracks: TenantTracks) -> None:
    told = [make_path(n, source=AlarmSource.BATCH) for n in range(3)]
    await tracks.record_paths(list(reversed(told)))

    assert await tracks.paths("gate", T0_US, T0_US + 10 * S) == told


async def test_analysed_times_come_back_as_they_were(tracks: TenantTracks) -> None:
    """By source: what a job analysed does not replace what was analysed live."""
    told = [make_analysed(n) for n in range(3)]
    job = make_analysed(1, source=AlarmSource.BATCH, times=(0, 100), tracks=7)
    await tracks.record_analysed([*reversed(told), job])
    await tracks.record_analysed([make_analysed(2, tracks=3)])

    assert await tracks.analysed("gate", T0_US, T0_US + 10 * S) == [told[0], job, told[1]]
    assert await tracks.analysed("gate", T0_US + 10 * S, T0_US + 60 * S) == [
        make_analysed(2, tracks=3)
    ]
    assert await tracks.analysed("yard", 0, T0_US * 2) == []
    with pytest.raises(InputError):
        await tracks.record_analysed([make_analysed(0, "globex")])


async def test_twice_changes_nothing(tracks: TenantTracks) -> None:
    told, seen = [make_path(n) for n in range(3)], [make_sighting(n) for n in range(3)]
    await tracks.record_paths(told)
    await tracks.record_objects(seen)
    once = await everything(tracks)

    await tracks.record_paths(told + told)
    await tracks.record_objects(seen + seen, AlarmSource.BATCH)

    assert await everything(tracks) == once
    assert len(once[0]) == 3


async def test_a_path_told_anew_replaces(tracks: TenantTracks) -> None:
    """Batch looked at more frames than live did."""
    poor = make_path(points=((0, 1, 2, 3, 4),), end_us=T0_US)
    full = make_path(source=AlarmSource.BATCH)
    await tracks.record_paths([poor])
    await tracks.record_paths([full])

    [kept] = await tracks.paths("gate", T0_US, T0_US + S)
    assert (kept.points, kept.end_us) == (full.points, full.end_us)


@pytest.mark.parametrize(
    ("from_s", "to_s", "found"),
    [
        (0, 10, [0, 1, 2, 3]),
        (1.5, 2.5, [1, 2]),
        (2, 2.000001, [1, 2]),  # the last point of 1 is at 2 s
        (4.000001, 9, []),
        (-9, 0, []),
        (3, 3, [2]),
    ],
)
async def test_paths_of_a_time(
    tracks: TenantTracks, from_s: float, to_s: float, found: list[int]
) -> None:
    """Path n reaches from n to n + 1 s; the end of the time is exclusive."""
    await tracks.record_paths([make_path(n) for n in range(4)])
    await tracks.record_paths([make_path(n, camera="yard") for n in range(4)])

    told = await tracks.paths("gate", T0_US + round(from_s * S), T0_US + round(to_s * S))

    assert [path.track for path in told] == [f"track-{n}" for n in found]


async def test_paths_are_limited_to_the_first(tracks: TenantTracks) -> None:
    await tracks.record_paths([make_path(n) for n in range(4)])

    told = await tracks.paths("gate", 0, T0_US * 2, limit=2)
    assert [path.track for path in told] == ["track-0", "track-1"]


async def test_the_way_of_one_track(tracks: TenantTracks) -> None:
    parts = [make_path(track="t", start_us=T0_US + n * 5 * S) for n in range(4)]
    await tracks.record_paths(parts)
    await tracks.record_paths([make_path(0), make_path(track="t", camera="yard")])

    assert await tracks.trajectory("gate", "t") == parts
    assert await tracks.trajectory("gate", "t", since_us=T0_US + 6 * S) == parts[1:]
    assert await tracks.trajectory("gate", "t", limit=1) == parts[:1]


async def test_many_at_once(tracks: TenantTracks) -> None:
    await tracks.record_paths([make_path(n) for n in range(1_100)])
    await tracks.record_objects([make_sighting(n) for n in range(1_100)])

    assert len(await tracks.paths("gate", 0, T0_US * 2)) == 1_100
    assert len(await listed(tracks, limit=500)) == 500
    await tracks.record_paths([])
    await tracks.record_objects([])


async def _all_points(tracks: TenantTracks, camera: str, **narrow: Any) -> list[Any]:
    pages = tracks.path_points(camera, 0, T0_US * 2, **narrow)
    return [path async for page in pages for path in page]


async def test_points_page_by_page(tracks: TenantTracks) -> None:
    """Several of the same start, split over pages; each once, in order."""
    told = [make_path(n, start_us=T0_US + n // 3 * S) for n in range(9)]
    await tracks.record_paths([*told, make_path(0, label="car", track="car")])
    await tracks.record_paths([make_path(0, camera="yard")])

    for size in (1, 2, 3, 9, 100):
        found = await _all_points(tracks, "gate", label="person", size=size)
        assert [(p.track, p.start_us) for p in found] == [(p.track, p.start_us) for p in told]
        assert [tuple(point) for point in found[0].points] == list(told[0].points)
    assert len(await _all_points(tracks, "gate")) == 10


# ---------------------------------------------------------------- objects

FIRST = make_sighting(confidence=0.6, colour="red", snapshot=None, box=(0.1, 0.1, 0.2, 0.2))
LATER = make_sighting(
    confidence=0.8,
    colour="orange",
    snapshot="objects/a.jpg",
    label="child",
    last_seen_us=T0_US + 9 * S,
    box=(0.5, 0.5, 0.9, 0.9),
)
EARLIER = make_sighting(
    confidence=0.7, colour=None, first_seen_us=T0_US - S, last_seen_us=T0_US + S, label="dog"
)
TOGETHER = make_sighting(
    confidence=0.8,
    colour="orange",
    snapshot="objects/a.jpg",
    label="child",
    first_seen_us=T0_US - S,
    last_seen_us=T0_US + 9 * S,
    box=(0.5, 0.5, 0.9, 0.9),
)


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("order", list(itertools.permutations([FIRST, LATER, EARLIER])))
async def test_what_is_told_of_an_object_adds_up_in_any_order(
    tracks: TenantTracks, order: tuple[Sighting, ...], at_once: bool
) -> None:
    """Times widen; the surest look gives picture, colour and box; the latest gives the class."""
    for part in [list(order)] if at_once else [[sighting] for sighting in order]:
        await tracks.record_objects(part)

    record = await tracks.object("track-0")
    assert record.sighting == TOGETHER
    assert record.source is AlarmSource.LIVE


async def test_a_better_look_without_colour_or_picture_keeps_what_is_known(
    tracks: TenantTracks,
) -> None:
    await tracks.record_objects([LATER])
    await tracks.record_objects([make_sighting(confidence=0.9, snapshot=None, colour=None)])

    kept = (await tracks.object("track-0")).sighting
    assert (kept.confidence, kept.colour, kept.snapshot) == (0.9, "orange", "objects/a.jpg")


async def test_who_told_first_stays(tracks: TenantTracks) -> None:
    await tracks.record_objects([make_sighting(0)], AlarmSource.BATCH)
    await tracks.record_objects([make_sighting(0), make_sighting(1)])

    assert await listed(tracks, source=AlarmSource.BATCH) == ["track-0"]
    assert await listed(tracks, source=AlarmSource.LIVE) == ["track-1"]


async def test_filters(tracks: TenantTracks) -> None:
    """Sighting n is in sight from n to n + 2 s."""
    await tracks.record_objects(
        [
            make_sighting(0, colour="red"),
            make_sighting(10, camera="yard"),
            make_sighting(20, label="car", colour="red"),
        ]
    )
    for query, found in [
        ({}, [20, 10, 0]),
        ({"camera": "gate"}, [20, 0]),
        ({"label": "car"}, [20]),
        ({"colour": "red"}, [20, 0]),
        ({"colour": "red", "label": "person"}, [0]),
        ({"since_us": T0_US + 12 * S}, [20, 10]),
        ({"since_us": T0_US + 12 * S + 1}, [20]),
        ({"until_us": T0_US + 10 * S}, [0]),
        ({"until_us": T0_US + 10 * S + 1}, [10, 0]),
        ({"limit": 1}, [20]),
    ]:
        assert await listed(tracks, **query) == [f"track-{n}" for n in found], query


async def test_pages_hold_each_object_once(tracks: TenantTracks) -> None:
    """Many that appear at the same time, in two cameras, under the same names."""
    seen = [
        make_sighting(n, camera=camera, first_seen_us=T0_US + n // 4 * S)
        for n in range(20)
        for camera in ("gate", "yard")
    ]
    await tracks.record_objects(seen)
    found: list[tuple[int, str, str]] = []
    cursor = None
    while True:
        page = await tracks.objects(ObjectQuery(limit=7, cursor=cursor))
        found += [
            (item.sighting.first_seen_us, item.sighting.camera, item.sighting.track)
            for item in page.items
        ]
        if (cursor := page.next_cursor) is None:
            break
    assert found == sorted(found, reverse=True)
    assert set(found) == {(s.first_seen_us, s.camera, s.track) for s in seen}
    assert len(found) == 40


async def test_one_name_in_two_cameras(tracks: TenantTracks) -> None:
    await tracks.record_objects([make_sighting(0), make_sighting(0, camera="yard")])

    with pytest.raises(ConflictError, match="several cameras"):
        await tracks.object("track-0")
    assert (await tracks.object("track-0", "yard")).sighting.camera == "yard"
    with pytest.raises(NotFoundError):
        await tracks.object("track-0", "vault")
    with pytest.raises(NotFoundError):
        await tracks.object("track-1")


async def test_counts_by_quarter(tracks: TenantTracks) -> None:
    """T0 is 22:13:20; quarters begin at :00, :15, …"""
    quarter = 900 * S
    begin = T0_US - (13 * 60 + 20) * S
    await tracks.record_objects(
        [make_sighting(n) for n in (0, 99)]  # 22:13:20 and 22:14:59
        + [make_sighting(100), make_sighting(101, label="car")]  # from 22:15:00 on
        + [make_sighting(102, camera="yard")]
    )

    def rows(counts: list[Any]) -> list[Any]:
        return [(c.camera, c.label, (c.start_us - begin) // quarter, c.count) for c in counts]

    assert rows(await tracks.counts(0, T0_US * 2)) == [
        ("gate", "person", 0, 2),
        ("gate", "car", 1, 1),
        ("gate", "person", 1, 1),
        ("yard", "person", 1, 1),
    ]
    assert rows(await tracks.counts(0, T0_US * 2, camera="yard")) == [("yard", "person", 1, 1)]
    assert rows(await tracks.counts(0, T0_US * 2, label="car")) == [("gate", "car", 1, 1)]
    assert rows(await tracks.counts(T0_US + 1, T0_US + 100 * S)) == [("gate", "person", 0, 1)]


# ---------------------------------------------------------------- tenants

# What acme tries with the names of globex's things.
ATTEMPTS: dict[str, Callable[[TenantTracks], Awaitable[Any]]] = {
    "record_paths": lambda t: t.record_paths([make_path(1, "globex", camera="vault")]),
    "record_objects": lambda t: t.record_objects([make_sighting(1, "globex", camera="vault")]),
    "paths": lambda t: t.paths("vault", 0, T0_US * 2),
    "trajectory": lambda t: t.trajectory("vault", "theirs"),
    "object": lambda t: t.object("theirs"),
    "objects": lambda t: t.objects(ObjectQuery()),
    "path_points": lambda t: _all_points(t, "vault"),
    "counts": lambda t: t.counts(0, T0_US * 2),
    "erased": lambda t: t.erased([Target("vault", "theirs")]),
    "record_analysed": lambda t: t.record_analysed([make_analysed(1, "globex", camera="vault")]),
    "analysed": lambda t: t.analysed("vault", 0, T0_US * 2),
    "object_of_picture": lambda t: t.object_of_picture("objects/vault/theirs.jpg"),
    "in_sight": lambda t: t.in_sight("vault", 0, T0_US * 2, within_us=T0_US, limit=10),
}


def test_every_method_is_tried() -> None:
    public = {name for name in vars(TenantTracks) if not name.startswith("_")}
    assert public == set(ATTEMPTS)


@pytest.mark.parametrize("method", sorted(ATTEMPTS))
async def test_nothing_of_another_tenant_is_seen_or_changed(
    database: Database, tracks: TenantTracks, method: str
) -> None:
    globex = database.tracks("globex")
    await globex.record_paths([make_path(0, "globex", camera="vault", track="theirs")])
    picture = "objects/vault/theirs.jpg"
    seen = make_sighting(0, "globex", camera="vault", track="theirs", snapshot=picture)
    await globex.record_objects([seen])
    await globex.record_analysed([make_analysed(0, "globex", camera="vault")])
    # So that an attempt that finds nothing is not merely one that asks wrongly.
    for method_of_theirs in ("analysed", "object_of_picture", "in_sight"):
        assert await ATTEMPTS[method_of_theirs](globex)
    before = await everything(globex)

    try:
        result = await ATTEMPTS[method](tracks)
    except (NotFoundError, InputError) as error:
        result = type(error)

    assert "vault" not in repr(result)
    assert await everything(globex) == before
    assert await everything(tracks) == [[], [[], [], []], [[], [], []]]


async def test_the_same_names_do_not_meet(database: Database) -> None:
    for tenant, colour in (("acme", "red"), ("globex", "blue")):
        await database.tracks(tenant).record_objects([make_sighting(0, tenant, colour=colour)])
        await database.tracks(tenant).record_paths([make_path(0, tenant)])

    assert (await database.tracks("acme").object("track-0")).sighting.colour == "red"
    assert (await database.tracks("globex").object("track-0")).sighting.colour == "blue"


async def test_a_tenant_that_is_not_there(database: Database) -> None:
    with pytest.raises(NotFoundError, match="no tenant"):
        await database.tracks("nobody").record_objects([make_sighting(0, "nobody")])
    with pytest.raises(NotFoundError, match="no tenant"):
        await database.tracks("nobody").record_paths([make_path(0, "nobody")])
    with pytest.raises(InputError):
        database.tracks("No Slug")


@pytest.mark.parametrize("cursor", ["x", "AQ", "AgAAAAAAAAAAAGdhdGU", "AgAAAAAAAAAAAGEvAA"])
async def test_a_broken_cursor(tracks: TenantTracks, cursor: str) -> None:
    with pytest.raises(InputError, match="cursor"):
        await tracks.objects(ObjectQuery(cursor=cursor))
