"""How a tenant's frames are divided among its cameras."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from cluster.controller.shares import capped, shares, why_capped
from pipelines.domain import MIN_DETECT_FPS, Camera, CameraKey, CameraPlan

rates = st.floats(0.01, 30)
wishes = st.dictionaries(st.integers(0, 50), rates, min_size=1, max_size=20)


def keyed(wanted: dict[int, float]) -> dict[CameraKey, float]:
    return {CameraKey("acme", f"cam-{number}"): fps for number, fps in wanted.items()}


def plan(tenant: str, camera: str, fps: float) -> CameraPlan:
    return CameraPlan(
        camera=Camera(
            tenant=tenant, id=camera, name=camera, url=SecretStr("rtsp://h/"), detect_fps=fps
        )
    )


@given(wishes, st.integers(1, 200))
def test_the_limit_is_kept_and_used(wanted: dict[int, float], limit: int) -> None:
    given_ = shares(keyed(wanted), limit)
    assert sum(given_.values()) == pytest.approx(min(limit, sum(wanted.values())))
    for number, fps in wanted.items():
        assert 0 < given_[CameraKey("acme", f"cam-{number}")] <= fps


@given(wishes, st.integers(1, 200))
def test_nobody_has_less_than_another_without_wanting_less(
    wanted: dict[int, float], limit: int
) -> None:
    given_ = shares(keyed(wanted), limit)
    most = max(given_.values())
    for key, fps in keyed(wanted).items():
        assert given_[key] == pytest.approx(min(fps, most))


def test_who_needs_less_than_its_part_keeps_its_rate() -> None:
    cameras = keyed({1: 1.0, 2: 5.0, 3: 10.0})
    assert list(shares(cameras, 9).values()) == [1.0, 4.0, 4.0]


def test_a_tenant_pays_for_its_own_cameras_only() -> None:
    plans = [plan("acme", "gate", 5), plan("acme", "yard", 5), plan("globex", "gate", 5)]
    found = capped(plans, 100, {"acme": 4})
    assert {key.room: p.camera.detect_fps for key, p in found.items()} == {
        "acme.gate": 2.0, "acme.yard": 2.0, "globex.gate": 5.0,
    }  # fmt: skip
    untouched = found[CameraKey("globex", "gate")]
    assert untouched is plans[2]
    assert why_capped(plans[2], untouched) == ""
    assert why_capped(plans[0], found[CameraKey("acme", "gate")]) == (
        "2 frames/s are analysed in place of 5: the tenant's quota analysed-frames-per-second is "
        "used up"
    )


def test_the_usual_limit_holds_for_who_has_no_other() -> None:
    found = capped([plan("acme", "gate", 5)], 3, {"globex": 100})
    assert found[CameraKey("acme", "gate")].camera.detect_fps == 3


def test_a_quota_of_nothing_leaves_a_rate_that_can_be_divided_by() -> None:
    found = capped([plan("acme", "gate", 5), plan("acme", "yard", 5)], 100, {"acme": 0})
    assert {p.camera.detect_fps for p in found.values()} == {MIN_DETECT_FPS}
