"""Reading, converting and running a model tells nobody outside of this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.witness import strangers, watched

REPOSITORY = Path(__file__).parents[3]
TIMEOUT_S = 120.0

READS_CONVERTS_AND_RUNS = """
import sys
from pathlib import Path
from cluster.core.settings import DetectorSettings
from cluster.inference.model import load_model
load_model("yolov8n.pt", DetectorSettings(runtime="openvino"), Path(sys.argv[1]))
"""

# The name is reserved for names that never exist (RFC 2606).
ASKS_FOR_A_STRANGER = """
import contextlib, socket
with contextlib.suppress(OSError):
    socket.create_connection(("stranger.invalid", 80), timeout=1)
with contextlib.suppress(OSError):
    socket.create_connection(("127.0.0.1", 9), timeout=1)
"""


def run(program: str, folder: Path) -> set[str]:
    """Run it with an empty home, and say whom it called."""
    home, calls = folder / "home", folder / "calls"
    home.mkdir()
    environment = {**os.environ, "HOME": str(home), "PYTHONPATH": str(REPOSITORY)}
    for name in ("YOLO_OFFLINE", "YOLO_AUTOINSTALL"):  # this process has them from our code
        environment.pop(name, None)
    subprocess.run(
        [sys.executable, "-c", program, str(folder / "models")],
        env=watched(environment, calls),
        check=True,
        timeout=TIMEOUT_S,
    )
    assert not (home / "intel").exists(), "OpenVINO made an identity for its reports"
    return strangers(calls)


def test_who_is_called_is_seen(tmp_path: Path) -> None:
    assert run(ASKS_FOR_A_STRANGER, tmp_path) == {"stranger.invalid"}


def test_a_model_is_read_converted_and_run_in_silence(tmp_path: Path) -> None:
    assert run(READS_CONVERTS_AND_RUNS, tmp_path) == set()
