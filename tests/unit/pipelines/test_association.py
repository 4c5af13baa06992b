"""A stable tracklet per object, whatever the rate; far boxes only where nobody else is nearer."""

from __future__ import annotations

import pytest

from pipelines.association import LOST_S, Associator, Tracklet
from pipelines.domain import PixelBox


def person(x: float, y: float = 100.0) -> PixelBox:
    return (x, y, x + 32.0, y + 96.0)


def follow(
    associator: Associator, path: list[tuple[float, float]], confidence: float = 0.8
) -> list[Tracklet | None]:
    """Tokens of one person at each (seconds, x)."""
    return [associator.update([person(x)], [confidence], at_s)[0] for at_s, x in path]


@pytest.mark.parametrize("fps", [1, 2, 5, 25, 30])
def test_a_walker_keeps_its_token_at_every_rate(fps: float) -> None:
    # 0.8 of its height per second, so more than two of its widths.
    tokens = follow(Associator(0.4), [(n / fps, 20 + 77 * n / fps) for n in range(int(6 * fps))])
    assert None not in tokens
    assert len(set(tokens)) == 1


def test_tokens_come_in_the_order_of_the_boxes() -> None:
    associator = Associator(0.4)
    first = associator.update([person(100), person(300), person(500)], [0.8, 0.9, 0.7], 0.0)
    assert len(set(first)) == 3
    again = associator.update([person(500), person(100), person(300)], [0.3, 0.9, 0.8], 0.2)
    assert again == [first[2], first[0], first[1]]


def test_two_equal_boxes_are_two_objects() -> None:
    tokens = Associator(0.4).update([person(100), person(100)], [0.8, 0.8], 0.0)
    assert None not in tokens
    assert tokens[0] is not tokens[1]


def test_weak_boxes_prolong_and_do_not_start() -> None:
    associator = Associator(0.4)
    assert follow(associator, [(0.0, 100)], 0.3) == [None]
    started = follow(associator, [(0.2, 100), (0.4, 100)])
    assert follow(associator, [(0.6, 100), (0.8, 100)], 0.3) == started
    associator.set_activation(0.2)
    assert associator.update([person(100), person(400)], [0.3, 0.3], 1.0)[1] is not None


@pytest.mark.parametrize("fps", [1, 5, 25])
def test_a_lost_track_is_kept_for_seconds_not_for_frames(fps: float) -> None:
    associator = Associator(0.4)
    (token, *_) = follow(associator, [(n / fps, 100) for n in range(5)])
    last = 4 / fps
    kept = 0.0
    for n in range(1, int(6 * fps) + 1):
        associator.update([], [], last + n / fps)
        if token in associator.alive:
            kept = n / fps
    assert kept == pytest.approx(LOST_S, abs=1 / fps)
    assert associator.alive == set()


def test_nothing_is_carried_over_a_long_gap() -> None:
    associator = Associator(0.4)
    (token, *_) = follow(associator, [(0.0, 100), (0.2, 100), (0.4, 100)])
    (later,) = follow(associator, [(30.0, 100)])
    assert later is not None
    assert later is not token


def test_a_new_object_may_be_two_of_its_widths_further_at_the_second_box() -> None:
    tokens = follow(Associator(0.4), [(n / 5, 100 + 68 * n) for n in range(6)])
    assert None not in tokens
    assert len(set(tokens)) == 1


def test_a_box_beyond_what_moves_is_another_object() -> None:
    assert len(set(follow(Associator(0.4), [(0.0, 100), (0.2, 300)]))) == 2


def test_a_new_object_does_not_take_the_box_of_its_neighbour() -> None:
    associator = Associator(0.4)
    (known,) = set(follow(associator, [(n / 5, 200) for n in range(5)]))
    _, new = associator.update([person(200), person(150)], [0.8, 0.8], 1.0)
    assert new is not known
    assert associator.update([person(202)], [0.8], 1.2) == [known]


def test_what_has_left_the_picture_is_not_followed() -> None:
    associator = Associator(0.4)
    picture = (640.0, 360.0)
    leaving = [associator.update([person(x)], [0.8], x / 200, picture)[0] for x in (500, 550, 600)]
    (token,) = set(leaving)
    assert token is not None
    associator.update([], [], 3.2, picture)
    assert token.left
    assert associator.alive == set()
    (entering,) = associator.update([person(600)], [0.8], 3.4, picture)
    assert entering is not token
