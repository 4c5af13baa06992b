"""What a process of Atalaia does not load, because it does not need it.

Each of these libraries takes 0.4 to 4 s of processor time at every start of a program or an actor.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]

# In this order, in one process: each may load what the ones before it may not.
ABSENT_AFTER = {
    "cluster.cli.main": {"sqlalchemy", "ray", "cv2", "supervision", "torch"},
    "cluster.bridge.bridge": {"alembic", "supervision", "ray", "scipy.optimize", "torch"},
    "cluster.batch.infer": {"ray.serve", "supervision", "torch"},
    "cluster.batch.extract": {"ray.serve", "supervision", "torch"},
    "cluster.runtime.services": {"alembic", "supervision", "ray.serve", "torch"},
    "serve.api.deployment": {"alembic", "supervision", "torch"},
    "cluster.inference.model": {"ultralytics", "torch"},
}

_PROGRAM = """
import importlib, sys
for module in sys.argv[1:]:
    importlib.import_module(module)
    print(" ".join(sys.modules))
"""


def test_a_process_loads_no_library_that_it_does_not_use() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *ABSENT_AFTER],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    loaded = [set(line.split()) for line in done.stdout.splitlines()]
    found = {
        module: there & absent
        for (module, absent), there in zip(ABSENT_AFTER.items(), loaded, strict=True)
        if there & absent
    }
    assert found == {}
