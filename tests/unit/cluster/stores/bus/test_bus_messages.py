"""What travels: round trips, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from cluster.core.backoff import Backoff
from cluster.stores.bus import CameraStatus, open_redis
from cluster.stores.bus.stream import (
    FIELD,
    UnreadableEntryError,
    _checked,
    decode_entry,
)
from pipelines.domain import (
    AlarmSource,
    CameraState,
    RecordingState,
    RecordingStatus,
    RuleKind,
    Stages,
)
from pipelines.errors import ConfigError, InputError
from tests.factories import make_alarm


@given(
    number=st.integers(0, 2**31),
    confidence=st.floats(0, 1),
    label=st.text(max_size=20),
    kind=st.sampled_from(RuleKind),
    source=st.sampled_from(AlarmSource),
    captured=st.integers(0, 2**63 - 1),
    snapshot=st.none() | st.text(max_size=20),
)
def test_an_alarm_round_trips(
    number: int,
    confidence: float,
    label: str,
    kind: RuleKind,
    source: AlarmSource,
    captured: int,
    snapshot: str | None,
) -> None:
    alarm = make_alarm(
        number,
        confidence=confidence,
        label=label,
        kind=kind,
        source=source,
        snapshot=snapshot,
        stages=Stages(capture_us=captured),
    )
    assert decode_entry("acme", {FIELD: alarm.model_dump_json().encode()}) == alarm


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "no field"),
        ({b"other": b"x"}, "no field"),
        ({FIELD: b""}, "not an alarm"),
        ({FIELD: b"{}"}, "not an alarm"),
        ({FIELD: b"\xff\xfe"}, "not an alarm"),
        (
            {FIELD: make_alarm().model_dump_json().replace('"version":1', '"version":2').encode()},
            "version",
        ),
        ({FIELD: make_alarm(tenant="globex").model_dump_json().encode()}, "tenant globex"),
    ],
)
def test_what_is_no_alarm_of_the_tenant(fields: dict[bytes, bytes], reason: str) -> None:
    with pytest.raises(UnreadableEntryError, match=reason):
        decode_entry("acme", fields)


@pytest.mark.parametrize("state", CameraState)
def test_a_status_round_trips(state: CameraState) -> None:
    status = CameraStatus(
        camera="gate",
        state=state,
        since_us=1,
        fps=24.9,
        skipped={"busy": 3},
        last_frame_us=9,
        recording=RecordingStatus(
            state=RecordingState.FAILING, reason="full", segments=3, dropped={"files": 1}
        ),
    )
    assert CameraStatus.model_validate_json(status.model_dump_json()) == status
    with pytest.raises(ValidationError):
        CameraStatus.model_validate({**status.model_dump(), "version": 2})


@pytest.mark.parametrize("after", ["0", "$", "0-0", "1700000000000-3", "17", f"{2**64 - 1}-0"])
def test_places_in_a_stream(after: str) -> None:
    assert _checked(after) == after


@pytest.mark.parametrize(
    "after", ["", "-", "+", ">", "x", "1-", "-1", "1-2-3", "1 2", f"{2**64}-0", "\u0661-0", "1-0\n"]
)
def test_what_is_no_place_in_a_stream(after: str) -> None:
    with pytest.raises(InputError):
        _checked(after)


def test_backoff_doubles_up_to_its_bound_and_starts_again() -> None:
    backoff = Backoff(0.2, 1.0)
    for expected in (0.2, 0.4, 0.8, 1.0, 1.0):
        assert expected / 2 <= backoff.next_delay_s() <= expected
    backoff.reset()
    assert backoff.next_delay_s() <= 0.2


@pytest.mark.parametrize(
    "url",
    [
        "http://u:hunter2@h",
        "hunter2",
        "redis://u:hunter2@h:port/0",
        "redis+sentinel://u:hunter2@/mymaster",
        "redis+sentinel://u:hunter2@h:26379",
        "redis+sentinel://h:port/mymaster",
    ],
)
def test_a_wrong_url_is_a_config_error_without_its_password(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_redis(url)
    assert "hunter2" not in f"{caught.value}{caught.value.__cause__}"
