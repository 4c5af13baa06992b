"""When a camera was analysed: every analysed frame once, by cells, with the number of paths."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from pipelines.coverage import MAX_TIMES, CoverageBook
from pipelines.domain import PATH_CELL_US, AnalysedCell, CameraKey
from pipelines.pipeline import CameraPipeline
from tests.factories import T0_US, make_path
from tests.unit.pipelines.world import START_US, Thing, frames, plan, run, stand

KEY = CameraKey("acme", "gate")
S = 1_000_000


def analysed(things: list[Thing], seconds: float, start_us: int) -> list[AnalysedCell]:
    pipeline = CameraPipeline(plan())
    results = [*run(pipeline, list(frames(things, seconds, 5, start_us=start_us)))]
    return [cell for result in [*results, pipeline.finish()] for cell in result.analysed]


def test_an_empty_scene_was_analysed() -> None:
    start_us = START_US - START_US % PATH_CELL_US
    cells = analysed([], 12, start_us)
    assert [cell.start_us - start_us for cell in cells] == [0, 5 * S, 10 * S]
    assert [cell.end_us - start_us for cell in cells] == [4_800_000, 9_800_000, 11_800_000]
    assert cells[1].times == tuple(range(0, 5_000, 200))
    assert {(cell.tenant, cell.camera, cell.tracks) for cell in cells} == {("acme", "gate", 0)}


def test_a_cell_says_how_many_objects_have_a_path_in_it() -> None:
    start_us = START_US - START_US % PATH_CELL_US
    things = [Thing(stand((0.2, 0.8)), 0.1, 0.3), Thing(stand((0.8, 0.8)), 0.1, 0.3)]
    assert [cell.tracks for cell in analysed(things, 12, start_us)] == [2, 2, 2]


def test_paths_of_earlier_cells_are_not_counted() -> None:
    """An object that is confirmed late has paths in cells that were told already."""
    book = CoverageBook(KEY)
    book.step(T0_US, ())
    [first] = book.step(T0_US + PATH_CELL_US, [make_path(0)])
    late = make_path(1, track="late")
    [second] = book.finish([late, make_path(2, start_us=T0_US + PATH_CELL_US)])
    assert (first.tracks, second.tracks) == (1, 1)


def test_nothing_analysed_is_nothing_to_tell() -> None:
    assert CoverageBook(KEY).finish(()) == ()


def test_a_cell_has_bounds() -> None:
    book = CoverageBook(KEY)
    for n in range(2 * MAX_TIMES):
        book.step(T0_US + n * 2_000, ())
    [cell] = book.finish(())
    assert len(cell.times) == MAX_TIMES


@given(steps=st.lists(st.integers(1, 9_000), max_size=60))
def test_every_analysed_frame_is_told_once(steps: list[int]) -> None:
    """Milliseconds between frames; any of them may end a cell, or several."""
    times_ms = [T0_US // 1_000 + sum(steps[:n]) for n in range(1, len(steps) + 1)]
    book = CoverageBook(KEY)
    cells = [cell for at_ms in times_ms for cell in book.step(at_ms * 1_000, ())]
    cells += book.finish(())
    told = defaultdict(list)
    for cell in cells:
        assert cell.start_us % PATH_CELL_US == 0
        told[cell.start_us] += [cell.start_us // 1_000 + at_ms for at_ms in cell.times]
    assert len(told) == len(cells)
    assert [at_ms for start_us in sorted(told) for at_ms in told[start_us]] == times_ms
