"""Rules of the suite: every module carries exactly one kind marker, from the folder it lives in."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.environment import end_at_once, environment_kept
from tests.lanes import Lanes, take_priority

KINDS = ("unit", "integration", "e2e", "chaos", "hostile")
TESTS = Path(__file__).parent
BUILT_SERVERS = TESTS.parent / ".local" / "bin"

# How long an example takes says how busy the machine is, and nothing else.
hypothesis.settings.register_profile(
    "suite", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("suite")


def pytest_configure() -> None:
    """What `make servers` built counts as installed, after what is on PATH already."""
    os.environ["PATH"] = os.pathsep.join(
        [*filter(None, [os.environ.get("PATH")]), str(BUILT_SERVERS)]
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test by its top folder, so that a test cannot be of no kind or of two."""
    for item in items:
        kind = item.path.relative_to(TESTS).parts[0]
        if kind not in KINDS:
            raise pytest.UsageError(f"{item.path} is not under tests/{{{','.join(KINDS)}}}")
        item.add_marker(kind)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Lanes | None:
    """`--dist loadgroup` is ours; any other way to distribute stays pytest-xdist's own."""
    return Lanes(config, log) if config.getoption("dist") == "loadgroup" else None


@pytest.fixture(autouse=True)
def environment_stays() -> Iterator[None]:
    """The command line and the local stack hand settings on through the environment.

    The next test must not see them.
    """
    with environment_kept():
        yield


@pytest.fixture(scope="session")
def kept_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data_dir for what takes seconds to make and is the same every time: clips and exports.

    All workers of a run share it, and all runs of one `make test`; what is kept there may be made
    by two of them at once.
    """
    if given := os.environ.get("TESTS_KEPT"):
        folder = Path(given).resolve()
    else:
        base = tmp_path_factory.getbasetemp()
        folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "kept"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """In a process that shares the machine with other lanes, a module has its lane's priority."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        take_priority(item.nodeid)


_STATUS = pytest.StashKey[int]()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    session.config.stash[_STATUS] = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """The last that pytest does; the closing line is printed, the fixtures are gone."""
    status = config.stash.get(_STATUS, None)
    if status is not None and "livekit" in sys.modules:
        end_at_once(status)
