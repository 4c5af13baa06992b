"""Latency from capture to a listening client: percentiles per stage, as the stream reports them."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from benchmarks.stage import Stage


@dataclass(frozen=True, slots=True)
class Latencies:
    """Per stage (p50, p95, p99), milliseconds. `total` ends when the client has the event."""

    alarms: int
    stages: dict[str, tuple[float, float, float]]


async def measure_latency(stage: Stage, seconds: float) -> Latencies:
    """Listen to the alarm stream for `seconds`. The last stage, `sse`, is measured here."""
    samples: dict[str, list[float]] = {}
    try:
        async with asyncio.timeout(seconds):
            await _listen(stage, samples)
    except TimeoutError:
        pass  # the measuring time is over
    stages = {
        name: tuple(float(p) for p in np.percentile(values, [50, 95, 99]))
        for name, values in samples.items()
    }
    return Latencies(
        len(samples.get("total", ())), {k: (v[0], v[1], v[2]) for k, v in stages.items()}
    )


async def _listen(stage: Stage, samples: dict[str, list[float]]) -> None:
    async with stage.client.stream("GET", "/v1/alarms/stream", timeout=None) as stream:
        event = ""
        async for line in stream.aiter_lines():
            name, _, value = line.partition(":")
            if name == "event":
                event = value.strip()
            elif name == "data" and event == "alarm":
                _take(json.loads(value), time.time(), samples)


def _take(alarm: dict[str, Any], now_s: float, samples: dict[str, list[float]]) -> None:
    stages = alarm["latency_ms"]
    total_ms = (now_s - datetime.fromisoformat(alarm["at"]).timestamp()) * 1e3
    for name, value in stages.items():
        if name != "total":
            samples.setdefault(name, []).append(float(value))
    samples.setdefault("sse", []).append(total_ms - float(stages["total"]))
    samples.setdefault("total", []).append(total_ms)
