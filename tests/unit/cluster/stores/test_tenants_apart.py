"""Names that all tenants share a space for: keys of Redis, rooms, streams, actors, files, points of
the memory, labels of metrics. No two tenants meet in one, and no name leads into another's.

What is compared comes from the registries themselves, so that a new name is compared too.
"""

from __future__ import annotations

import inspect
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

import cluster
from cluster.clips.clips import clip_keys
from cluster.clips.exports import manifest_key
from cluster.core import names
from cluster.media.gateway import StreamName
from cluster.media.sealing import Seal
from cluster.recording.shipper import blob_key
from cluster.stores.blobs.tenant import TenantBlobs
from cluster.stores.bus import keys
from pipelines.domain import SLUG_PATTERN, CameraKey
from pipelines.identity import object_snapshot_key
from tests.metrics_in_source import metrics_in_source, metrics_of

SOURCES = Path(cluster.__file__).parent.parent

# Close to each other on purpose: one is the beginning of the next.
SLUGS = st.one_of(
    st.sampled_from(["a", "a-", "aa", "a-a", "acme", "acme-2", "alarms", "platform", "0"]),
    st.from_regex(SLUG_PATTERN.replace("$", r"\Z"), fullmatch=True),
)
_TEXT = st.text("abz09:-.{}/", max_size=12)

# ------------------------------------------------------------ Redis

MAKERS = {
    name: maker
    for name, maker in inspect.getmembers(keys, inspect.isfunction)
    if name.endswith("_key") and not name.startswith("_")
}
ARGUMENTS: dict[str, st.SearchStrategy[Any]] = {"alarm": st.uuids(), "of": _TEXT}
"""What the functions of `keys` take besides a tenant. `stream` is a key of another function."""


def _parameters(maker: Callable[..., str]) -> list[str]:
    return list(inspect.signature(maker).parameters)


def test_every_argument_of_a_key_is_known() -> None:
    for name, maker in MAKERS.items():
        unknown = set(_parameters(maker)) - {"tenant", "stream", *ARGUMENTS}
        assert not unknown, (
            f"{name} takes {sorted(unknown)}: add to ARGUMENTS here what it can be, so that no two "
            "tenants' keys can meet by it"
        )
    assert len(MAKERS) >= 6


@st.composite
def redis_keys(draw: st.DrawFn, tenant: str | None) -> tuple[tuple[object, ...], str]:
    """What a key is for, and the key: of a tenant, or (None) of the platform."""
    of = [m for m in MAKERS if "tenant" in _parameters(MAKERS[m])]
    if tenant is None:
        of = [m for m in of if "None" in str(inspect.signature(MAKERS[m]).parameters["tenant"])]
    name = draw(st.sampled_from(of))
    rest = [draw(ARGUMENTS[p]) for p in _parameters(MAKERS[name]) if p != "tenant"]
    key = MAKERS[name](tenant, *rest)
    if name in ("alarms_key", "tracks_key") and draw(st.booleans()):
        return (tenant, name, "dead"), keys.dead_key(key)
    return (tenant, name, *rest), key


@given(st.data(), SLUGS, st.one_of(st.none(), SLUGS))
def test_no_two_tenants_have_a_key_of_redis_in_common(
    data: st.DataObject, one: str, other: str | None
) -> None:
    assume(one != other)
    _, mine = data.draw(redis_keys(one))
    _, theirs = data.draw(redis_keys(other))
    assert not mine.startswith(theirs)
    assert not theirs.startswith(mine)
    assert not {keys.MODEL_KEY, keys.LEASE_KEY} & {mine, theirs}


@given(st.data(), SLUGS)
def test_two_things_of_a_tenant_have_two_keys(data: st.DataObject, tenant: str) -> None:
    (what, mine), (other, theirs) = data.draw(redis_keys(tenant)), data.draw(redis_keys(tenant))
    assert (mine == theirs) == (what == other)


# ------------------------------------------------------------ rooms, streams, actors

CAMERAS = st.builds(CameraKey, SLUGS, SLUGS)


@given(CAMERAS, CAMERAS)
def test_two_cameras_have_two_rooms(one: CameraKey, other: CameraKey) -> None:
    assert (one.room == other.room) == (one == other)
    assert CameraKey.from_room(one.room) == one
    if one.tenant != other.tenant:
        # What begins with a tenant and a dot is of that tenant alone.
        assert not one.room.startswith(f"{other.tenant}.")


STREAMS = st.builds(StreamName, CAMERAS, st.booleans())
SEAL = Seal("a-secret-of-the-gateway-in-tests-0001", "stream names")


@given(STREAMS, STREAMS)
def test_two_streams_have_two_names(one: StreamName, other: StreamName) -> None:
    """Also on the gateway, which has them sealed."""
    assert (str(one) == str(other)) == (one == other)
    assert (SEAL.seal(str(one)) == SEAL.seal(str(other))) == (one == other)
    assert StreamName.parse(SEAL.open(SEAL.seal(str(one))) or "") == one


def test_actors_are_named_by_number_and_not_by_tenant() -> None:
    """An actor is of all tenants; one of a single tenant would have to be named without doubt."""
    texts = {n: v for n, v in vars(names).items() if n.isupper() and isinstance(v, str)}
    assert len(texts) >= 10
    for name, text in texts.items():
        fields = {field for _, field, _, _ in string.Formatter().parse(text) if field}
        assert fields <= {"index"}, (
            f"{name} in cluster/core/names.py is made with {fields}: if a tenant's name is among "
            "them, add a property here that no two tenants' names meet"
        )
    made = [t.format(index=n) if "{" in t else t for t in texts.values() for n in (0, 1, 10)]
    actors = {t for t in made if t.startswith("atalaia-")}
    assert len(actors) == 2 + 2 * 3 + 1


# ------------------------------------------------------------ files and points

_ROOTS = st.sampled_from(["file:///srv/blobs", "memory://bucket", "memory://bucket/acme/"])
_BLOBS = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,5}(/[a-z0-9][a-z0-9._-]{0,5}){0,2}", fullmatch=True)


@given(_ROOTS, SLUGS, SLUGS, _BLOBS, _BLOBS)
def test_no_two_tenants_have_a_file_in_common(
    root: str, one: str, other: str, key: str, key_of_other: str
) -> None:
    assume(one != other)
    mine = TenantBlobs(root, one).url(key)
    theirs = TenantBlobs(root, other).url(key_of_other)
    folder, folder_of_other = mine.removesuffix(key), theirs.removesuffix(key_of_other)
    assert folder.endswith(f"/{one}/")
    assert not mine.startswith(folder_of_other)
    assert not theirs.startswith(folder)


@given(SLUGS, SLUGS, st.uuids(), st.text("ab%-09", min_size=1, max_size=9))
def test_each_kind_of_file_has_a_folder_of_its_own(
    camera: str, other: str, id: Any, track: str
) -> None:
    kinds = [
        [blob_key(camera, 1_700_000_000_000_000), blob_key(other, 1_700_000_000_000_000)],
        [object_snapshot_key(camera, track), object_snapshot_key(other, track)],
        clip_keys(id),
        [manifest_key(id)],
    ]
    folders = [{key.split("/")[0] for key in made} for made in kinds]
    assert sum(len(folder) for folder in folders) == len(set().union(*folders))
    for made in kinds[:2]:
        assert (made[0] == made[1]) == (camera == other)


# ------------------------------------------------------------ metrics

LABELS = {
    "cause", "cover", "direction", "kind", "lane", "method", "outcome", "quota", "reason", "result",
    "route", "stage", "state", "status", "store", "what",
}  # fmt: skip
"""Words of a fixed, small set each. None is, or may become, a name that a tenant chose."""


def test_no_metric_is_labelled_with_what_a_tenant_chose() -> None:
    found = metrics_in_source()
    assert len(found) >= 25
    for metric in found:
        unknown = metric.labels - LABELS
        assert not unknown, (
            f"{metric.place}: {metric.name} has the labels {sorted(unknown)}. Metrics are open to "
            "everybody who reaches their port, so a label may hold no name of a tenant, camera, "
            "user or key. If it is a word of a fixed set, add it to LABELS here"
        )


def test_a_metric_with_another_label_would_be_found() -> None:
    for source, labels in (
        ("Gauge('atalaia_x', 'd', ('tenant',), registry=r)", {"tenant"}),
        ("metrics.Counter('atalaia_x', description='d', tag_keys=('camera', 'state'))",
         {"camera", "state"}),
        ("KEYS = ('user',)\nmetrics.Gauge('atalaia_x', description='d', tag_keys=KEYS)", {"user"}),
        ("Counter('atalaia_x', 'd', registry=r)", set()),
    ):  # fmt: skip
        assert [metric.labels for metric in metrics_of(source)] == [labels]
