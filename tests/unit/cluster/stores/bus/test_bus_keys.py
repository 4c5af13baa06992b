"""The keys in Redis: their texts are a format that other versions and operators rely on."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest

import cluster
from cluster.stores.bus import keys
from cluster.stores.bus.keys import (
    LEASE_KEY,
    MODEL_KEY,
    alarm_marker_key,
    alarms_key,
    cameras_key,
    dead_key,
    rate_key,
    settled_key,
    tracks_key,
)
from pipelines.errors import InputError

ALARM = UUID("00000000-0000-4000-8000-000000000001")
SOURCES = Path(cluster.__file__).parent.parent


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (alarms_key("acme"), "atalaia:{acme}:alarms"),
        (alarm_marker_key("acme", ALARM), f"atalaia:{{acme}}:alarms:id:{ALARM}"),
        (dead_key(alarms_key("acme")), "atalaia:{acme}:alarms:dead"),
        (settled_key("acme"), "atalaia:{acme}:alarms:settled"),
        (tracks_key("acme"), "atalaia:{acme}:tracks"),
        (dead_key(tracks_key("acme")), "atalaia:{acme}:tracks:dead"),
        (cameras_key("acme"), "atalaia:{acme}:cameras"),
        (cameras_key("alarms"), "atalaia:{alarms}:cameras"),
        (rate_key("acme", "requests"), "atalaia:{acme}:rate:requests"),
        (rate_key(None, "requests"), "atalaia:{.platform}:rate:requests"),
        (MODEL_KEY, "atalaia:model"),
        (LEASE_KEY, "atalaia:controller"),
    ],
)
def test_the_texts_of_all_keys(key: str, text: str) -> None:
    assert key == text


@pytest.mark.parametrize("key", [alarms_key, settled_key, tracks_key, cameras_key])
@pytest.mark.parametrize("name", ["", "a}", "{a", "a b", "A", "a:b"])
def test_what_is_no_tenant_has_no_key(key: Callable[[str], str], name: str) -> None:
    with pytest.raises(InputError):
        key(name)
    with pytest.raises(InputError):
        alarm_marker_key(name, ALARM)


def test_no_other_module_makes_a_key() -> None:
    makers = {
        path
        for package in ("cluster", "agents", "serve", "pipelines")
        for path in (SOURCES / package).rglob("*.py")
        if re.search(r"""["']atalaia:\S""", path.read_text(encoding="utf-8"))
    }
    assert makers == {Path(keys.__file__)}
