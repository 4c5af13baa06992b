"""What pictures really take, each in a process of its own, against what their headers foretell."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypedDict

import pytest

from tests.hostile_pictures import ACCEPTED

ROOT = Path(__file__).parents[3]

# One process imports; each measurement is a fork of it, with a heap of its own. Nothing is decoded
# before the fork, for threads of the decoders would be missing behind it.
# Writing 5 to clear_refs sets the peak (VmHWM) back to what is resident now. Each format is decoded
# once before, so that what its libraries load at first use is not counted.
_SERVER = """
import io, json, os, sys
from pathlib import Path
from PIL import Image
from serve.api.images import decode
from serve.api.picture_cost import memory_needed
from serve.api.picture_header import read_header

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])

def measure(path):
    for format in ("JPEG", "PNG", "WEBP", "BMP"):
        buffer = io.BytesIO()
        Image.new("RGB", (64, 64)).save(buffer, format)
        decode(buffer.getvalue(), 40)
        decode(buffer.getvalue(), 40, 32)
    del buffer
    data = Path(path).read_bytes()
    found = []
    for max_side in (1024, None):
        Path("/proc/self/clear_refs").write_text("5")
        before = peak()
        pixels = decode(data, 40, max_side)
        # The file was read before the peak was set back, and is part of the estimate.
        taken = peak() - before + len(data)
        foretold = memory_needed(read_header(data), len(data), max_side)
        found.append({"taken": taken, "foretold": foretold, "pixels": pixels.nbytes})
        del pixels
    return found

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        print(json.dumps(measure(line.strip())), flush=True)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        sys.exit("the decoder's process died")
"""


class Measured(TypedDict):
    taken: int
    foretold: int
    pixels: int


Measure = Callable[[Path], list[Measured]]


@pytest.fixture(scope="module")
def measured() -> Iterator[Measure]:
    """Measures a file: scaled down to 1,024 pixels, and as a whole."""
    with subprocess.Popen(
        [sys.executable, "-c", _SERVER],
        cwd=ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as server:

        def measure(path: Path) -> list[Measured]:
            assert server.stdin
            assert server.stdout
            print(path, file=server.stdin, flush=True)
            answer = server.stdout.readline()
            assert answer, "the decoder's process died; its words are in the captured output"
            found: list[Measured] = json.loads(answer)
            return found

        yield measure
        if server.stdin:
            server.stdin.close()


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.parametrize("kind", ACCEPTED)
def test_a_picture_takes_no_more_than_its_header_foretells(
    kind: str, tmp_path: Path, measured: Measure
) -> None:
    path = tmp_path / "picture"
    path.write_bytes(ACCEPTED[kind]())

    for found in measured(path):
        assert found["taken"] <= found["foretold"]
        # The measurement is one: at least the result and the file were there.
        assert found["taken"] >= 0.9 * (found["pixels"] + path.stat().st_size) - 2_000_000


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.parametrize(
    ("kind", "megabytes"), [("PNG palette, transparent", 175), ("PNG 16 bits gray", 215)]
)
def test_palettes_and_sixteen_bits_have_no_large_steps_between(
    kind: str, megabytes: int, tmp_path: Path, measured: Measure
) -> None:
    """They took 757 and 718 MB, when they were converted as a whole: 4 and 5 bytes a pixel now."""
    path = tmp_path / "picture"
    path.write_bytes(ACCEPTED[kind]())

    assert measured(path)[-1]["taken"] < megabytes * 1e6
