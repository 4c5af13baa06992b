"""In which precision this CPU computes fastest: measured, because what it can is not what it gains.

A Xeon whose virtual machine has AVX512-BF16 but no AMX takes 68 ms of processor time for a frame
in bf16 and 43 in float32 (yolov8n, 384x640); an EPYC with AVX512-BF16 takes 30 and 57.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

# Of each precision, in turns, so that a machine that is busy for a moment is busy for both; the
# least counts. A frame takes some 50 ms on one core, so all of it well below a second.
ROUNDS = 5
# How much faster than float32, which is exact, another must be to be taken.
LEAST_GAIN = 1.1
_CHOICE_FILE = "precision.txt"
_CPUINFO = Path("/proc/cpuinfo")


def fastest(
    candidates: Mapping[str, Callable[[], object]],
    now_s: Callable[[], float] = time.perf_counter,
) -> str:
    """The name of the fastest, `fp32` where no other gains LEAST_GAIN.

    Args:
        candidates: by precision, `fp32` among them: what infers one frame and returns when done.
        now_s: a clock in seconds.
    """
    least = dict.fromkeys(candidates, float("inf"))
    for infer in candidates.values():
        infer()  # The first call allocates.
    for _ in range(ROUNDS):
        for name, infer in candidates.items():
            begin = now_s()
            infer()
            least[name] = min(least[name], now_s() - begin)
    best = min(least, key=least.__getitem__)
    return best if least[best] * LEAST_GAIN < least["fp32"] else "fp32"


def save_choice(folder: Path, precision: str) -> None:
    """Keep what was measured in the folder of an export."""
    (folder / _CHOICE_FILE).write_text(precision)


def read_choice(folder: Path, precisions: Collection[str]) -> str:
    """What `save_choice` has kept. Raises ValueError: it is none of `precisions`."""
    kept = (folder / _CHOICE_FILE).read_text()
    if kept not in precisions:
        raise ValueError(f"{kept!r} is no precision of this CPU")
    return kept


def cpu_identity(cpuinfo: Path = _CPUINFO) -> str:
    """Name and features of the CPU: virtual machines hide features of one and the same name."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    of_first: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition(":")
        of_first.setdefault(key.strip().lower(), value.strip())
    known = ("model name", "flags", "features", "cpu part")  # the last two on ARM
    return " ".join(of_first[key] for key in known if key in of_first)
