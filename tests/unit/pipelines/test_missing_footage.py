"""When so much is gone that nobody can have meant it."""

from __future__ import annotations

import pytest

from pipelines.footage import Census


@pytest.mark.parametrize(
    ("known", "missing", "loss"),
    [
        (0, 0, False),
        (100, 100, False),
        (101, 101, True),
        (201, 101, True),
        (202, 101, False),
        (10_000, 5_000, False),
        (10_000, 5_001, True),
    ],
)
def test_more_than_a_hundred_and_more_than_half(known: int, missing: int, loss: bool) -> None:
    assert Census(known, missing).is_loss is loss


def test_a_sample_counts_by_its_half_alone() -> None:
    assert Census(202, 102).may_be_loss
    assert not Census(202, 101).may_be_loss
    assert not Census(100, 100).may_be_loss
