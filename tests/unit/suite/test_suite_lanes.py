"""However many workers there are, every test runs once, and no lane keeps another from its turn."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xdist.remote import Producer
from xdist.workermanage import WorkerController

from tests.lanes import BUSY, CHAOS, REAL_TIME, Lanes, lane_of

LIVE = [f"tests/integration/bridge/test_{n}.py" for n in range(4)]
MODELS = [f"tests/integration/batch/test_{n}.py" for n in range(4)]
BREAKING = [f"tests/chaos/test_{n}.py" for n in range(4)]
OTHERS = [f"tests/unit/pipelines/test_{n}.py" for n in range(4)]


class Worker:
    """What the scheduler asks of a worker of pytest-xdist, which keeps its last test back until it
    gets more or is told to stop."""

    def __init__(self, number: int, tests: Sequence[str]) -> None:
        self.gateway = SimpleNamespace(id=f"gw{number}")
        self.shutting_down = False
        self.done: list[str] = []
        self._tests = tests
        self._waiting: deque[int] = deque()

    def send_runtest_some(self, indices: Sequence[int]) -> None:
        assert not self.shutting_down
        self._waiting += indices

    def shutdown(self) -> None:
        self.shutting_down = True

    def run_one(self) -> int | None:
        if len(self._waiting) < (1 if self.shutting_down else 2):
            return None
        index = self._waiting.popleft()
        self.done.append(self._tests[index])
        return index


def played(tests: list[str], workers: int, turns: Sequence[int]) -> list[Worker]:
    """All tests run, one after the other; `turns`: which worker is the next one to be quick."""
    options = SimpleNamespace(loadscopereorder=False)
    config = SimpleNamespace(getvalue=lambda _: ["popen"] * workers, option=options)
    scheduler = Lanes(cast("pytest.Config", config), Producer("lanes", enabled=False))
    nodes = [Worker(number, tests) for number in range(workers)]
    for node in nodes:
        scheduler.add_node(cast("WorkerController", node))
        scheduler.add_node_collection(cast("WorkerController", node), tests)
    scheduler.schedule()
    for turn in [*turns, *range(workers * (len(tests) + 1))]:
        node = nodes[turn % workers]
        index = node.run_one()
        if index is not None:
            scheduler.mark_test_complete(cast("WorkerController", node), index)
    return nodes


modules = st.lists(st.sampled_from([*LIVE, *BREAKING, *MODELS, *OTHERS]), min_size=1, unique=True)


@settings(deadline=None)
@given(modules, st.integers(1, 3), st.integers(1, 5), st.lists(st.integers(0, 5), max_size=60))
def test_every_test_runs_once_however_many_workers_there_are(
    chosen: list[str], each: int, workers: int, turns: list[int]
) -> None:
    tests = [f"{module}::test_{n}" for module in chosen for n in range(each)]
    nodes = played(tests, workers, turns)
    assert sorted(test for node in nodes for test in node.done) == sorted(tests)
    assert all(node.shutting_down for node in nodes)


def test_one_worker_runs_all_lanes_and_never_has_to_take_back_its_priority() -> None:
    tests = [f"{module}::test" for module in [*MODELS, *OTHERS, *BREAKING, *LIVE]]
    (only,) = played(tests, 1, [])
    lanes = [lane_of(test) for test in only.done]
    assert lanes == [REAL_TIME] * 4 + [CHAOS] * 4 + [()] * 4 + [BUSY] * 4


def test_a_lane_with_a_worker_of_its_own_is_left_to_it() -> None:
    """Two stacks that play in real time would disturb each other, also at the end of a run."""
    tests = [f"{module}::test_{n}" for module in [*LIVE, *OTHERS] for n in range(3)]
    first, *others = played(tests, 3, [1, 2] * 40)
    assert {lane_of(test) for node in others for test in node.done} == {()}
    assert {lane_of(test) for test in first.done} == {REAL_TIME}


def test_while_one_worker_counts_frames_another_breaks_things() -> None:
    tests = [f"{module}::test_{n}" for module in [*LIVE, *BREAKING, *OTHERS] for n in range(2)]
    nodes = played(tests, 4, [0, 1, 2, 3] * 20)
    of_node = [{lane_of(test) for test in node.done} for node in nodes]
    assert REAL_TIME in of_node[0]
    assert CHAOS in of_node[2]
    assert not any(
        lane in lanes for lane in (REAL_TIME, CHAOS) for lanes in (of_node[1], of_node[3])
    )
