"""Addresses of other parts of this API that answers name."""

from __future__ import annotations

from urllib.parse import urlencode

from serve.api.times import rfc3339

# What was seen begins some frames before it was recognized, and ends some after.
AROUND_US = 1_000_000


def snapshot_address(key: str | None) -> str | None:
    """Where the picture with this key in the tenant's blob storage is."""
    return f"/v1/snapshots/{key}" if key else None


def recording_address(camera: str, first_seen_us: int, last_seen_us: int) -> str:
    """Where the recording of that time is, if it was recorded."""
    query = {
        "camera": camera,
        "from": rfc3339(max(0, first_seen_us - AROUND_US)),
        "to": rfc3339(last_seen_us + AROUND_US),
    }
    return f"/v1/recordings?{urlencode(query, safe=':')}"
