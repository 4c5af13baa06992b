"""What fails is said once per incident, however it flickers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipelines.incidents import Incidents

AFTER_S, OVER_S = 30.0, 120.0
START_US = 1_700_000_000_000_000


def _incidents() -> Incidents[str]:
    return Incidents(lambda key: AFTER_S if key == "slow" else 0.0, OVER_S)


def _tell(incidents: Incidents[str], key: str, failing: bool, at_s: float) -> list[tuple[str, int]]:
    incidents.observe(key, failing, at_s, START_US + round(at_s * 1e6))
    return incidents.due()


def test_it_is_due_at_once_or_after_a_while() -> None:
    incidents = _incidents()
    assert _tell(incidents, "quick", True, 10) == [("quick", START_US + 10_000_000)]
    incidents.said("quick")
    assert _tell(incidents, "slow", True, 20) == []
    assert _tell(incidents, "slow", True, 49) == []
    assert _tell(incidents, "slow", True, 50) == [("slow", START_US + 20_000_000)]


def test_what_was_not_said_stays_due_and_what_was_said_does_not() -> None:
    incidents = _incidents()
    _tell(incidents, "quick", True, 0)
    assert len(_tell(incidents, "quick", True, 15)) == 1
    incidents.said("quick")
    assert _tell(incidents, "quick", True, 30) == []


def test_it_begins_again_only_when_it_was_over() -> None:
    incidents = _incidents()
    _tell(incidents, "quick", True, 0)
    incidents.said("quick")
    _tell(incidents, "quick", False, 119)
    assert incidents.is_open("quick")
    assert _tell(incidents, "quick", True, 120) == []
    _tell(incidents, "quick", False, 240)
    assert not incidents.is_open("quick")
    assert _tell(incidents, "quick", True, 241) == [("quick", START_US + 241_000_000)]


def test_what_is_not_looked_at_any_more_is_forgotten() -> None:
    incidents = _incidents()
    _tell(incidents, "quick", True, 0)
    incidents.keep(lambda key: key != "quick")
    assert incidents.due() == []


@given(st.lists(st.tuples(st.integers(1, 200), st.booleans()), max_size=60))
def test_between_two_that_are_said_all_was_well_for_long_enough(
    looks: list[tuple[int, bool]],
) -> None:
    """Worked out from the looks alone: two failures less than `OVER_S` apart, or without a look
    that found all well at least `OVER_S` after the first, are one incident."""
    incidents, at_s = _incidents(), 0
    said, expected = list[int](), list[int]()
    failed_s: int | None = None
    over = True
    for step_s, failing in looks:
        at_s += step_s
        if failing:
            if over:
                expected.append(at_s)
            over, failed_s = False, at_s
        elif failed_s is not None and at_s - failed_s >= OVER_S:
            over = True
        for key, since_us in _tell(incidents, "quick", failing, at_s):
            said.append((since_us - START_US) // 1_000_000)
            incidents.said(key)
    assert said == expected
