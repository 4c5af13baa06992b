"""What the demo's cameras saw, from the frame to the answer: objects, ways, sums, likeness."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from typing import Any, TypeVar

import httpx
import pytest
from PIL import Image

from tests.e2e.conftest import Demo

PATIENCE_S = 90.0
T = TypeVar("T")


def _until(what: str, probe: Callable[[], T]) -> T:
    """The first answer that says something."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := probe()):
        assert time.monotonic() < deadline, f"no {what} within {PATIENCE_S:g} s"
        time.sleep(0.5)
    return found


def _pictured(client: httpx.Client, **params: Any) -> list[Any]:
    """Objects that have a picture, newest first."""
    objects = client.get("/v1/objects", params=params).raise_for_status().json()["objects"]
    return [item for item in objects if item["snapshot"]]


def test_objects_have_a_picture_a_colour_and_a_way(demo: Demo) -> None:
    with demo.client("acme") as client:
        found = _until(
            "pictures of three objects", lambda: _pictured(client)[2:] and _pictured(client)
        )
        assert {item["camera"] for item in found} <= {"gate", "street"}
        assert any(item["colour"] for item in found)
        for item in found[:5]:
            picture = client.get(item["snapshot"]).raise_for_status()
            assert min(Image.open(io.BytesIO(picture.content)).size) > 4
        oldest = found[-1]
        address = f"/v1/tracks/{oldest['track'].replace('%', '%25')}"
        track = _until(
            "way",
            lambda: (
                (body := client.get(address, params={"camera": oldest["camera"]}).json())["points"]
                and body
            ),
        )
        assert track["points"][0]["at"][:19] == oldest["first_seen"][:19]
        assert [p["at"] for p in track["points"]] == sorted(p["at"] for p in track["points"])
        assert oldest["recording"].startswith(f"/v1/recordings?camera={oldest['camera']}&from=20")


def test_more_like_an_object(demo: Demo) -> None:
    with demo.client("acme") as client:

        def like() -> list[Any]:
            for item in _pictured(client, camera="gate"):
                answer = client.post(
                    "/v1/search", params={"like": item["track"], "like_camera": "gate"}
                )
                if answer.status_code == 200 and answer.json()["matches"]:
                    matches: list[Any] = answer.json()["matches"]
                    assert item["track"] not in {m["track"] for m in matches}
                    return matches
            return []

        matches = _until("matches", like)
    assert matches[0]["score"] == max(match["score"] for match in matches)
    assert all(match["camera"] in {"gate", "street"} for match in matches)


def test_counts_and_heat_of_the_last_hours(demo: Demo) -> None:
    with demo.client("globex") as client:
        camera = _until("objects", lambda: _pictured(client))[0]["camera"]
        assert camera in {"yard", "cabin"}
        counts = client.get("/v1/analytics/counts", params={"tz": "Europe/Lisbon"}).json()
        assert sum(item["count"] for item in counts["counts"]) > 0
        assert {item["camera"] for item in counts["counts"]} <= {"yard", "cabin"}

        def seconds() -> float:
            heat = client.get("/v1/analytics/heatmap", params={"camera": camera, "grid": "8x4"})
            return sum(cell for row in heat.json()["seconds"] for cell in row)

        assert _until("heat", seconds) > 0


@pytest.mark.parametrize("owner", ["acme", "globex"])
def test_the_other_tenants_objects_are_not_there(demo: Demo, owner: str) -> None:
    other = {"acme": "globex", "globex": "acme"}[owner]
    with demo.client(owner) as client, demo.client(other) as theirs:
        track = _until("objects", lambda: _pictured(theirs))[0]["track"].replace("%", "%25")
        assert theirs.get(f"/v1/objects/{track}").status_code == 200
        assert client.get(f"/v1/objects/{track}").status_code == 404
        assert client.get(f"/v1/tracks/{track}").status_code == 404
