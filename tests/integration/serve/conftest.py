"""One Ray for the tests of this folder, and pictures with known content."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from cluster.local.ray_folder import temporary_folder

ROOT = Path(__file__).resolve().parents[3]


@contextmanager
def ray_running() -> Iterator[None]:
    """A Ray of its own with two CPUs. Its processes have the environment of now."""
    import ray

    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    # Ray refuses socket paths beyond 107 bytes, so its folder cannot lie under tmp_path.
    with pytest.MonkeyPatch.context() as patch, temporary_folder() as folder:
        patch.setenv("PYTHONPATH", os.pathsep.join(paths))
        try:
            # "local", because another Ray may run on this machine.
            ray.init(
                "local", num_cpus=2, include_dashboard=False, log_to_driver=False, _temp_dir=folder
            )
            yield
        finally:
            ray.shutdown()  # also what a failed start has started


@pytest.fixture(scope="module")
def ray_session() -> Iterator[None]:
    """One with Serve but no HTTP, that ends with the module."""
    from ray import serve

    with ray_running():
        try:
            serve.start(proxy_location="Disabled")
            yield
        finally:
            serve.shutdown()


def asset(name: str) -> npt.NDArray[np.uint8]:
    """A picture that ultralytics ships, RGB (height, width, 3)."""
    from ultralytics.utils import ASSETS

    picture = cv2.imread(str(ASSETS / name))
    assert picture is not None
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), dtype=np.uint8)


@pytest.fixture(scope="session")
def bus() -> npt.NDArray[np.uint8]:
    """A bus and four people (one cut by the border), 810x1080."""
    return asset("bus.jpg")
