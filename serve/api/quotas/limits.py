"""The quotas by name, and how much of each a tenant may use."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from cluster.core.settings import Settings

WINDOW_S = 60.0
MIB = 1024 * 1024


class Quota(StrEnum):
    """The names that clients see."""

    # Rates: so much in any minute, through all replicas together; of a tenant and of each key.
    REQUESTS = "requests"
    DETECT = "detect"
    SEARCH = "search"
    UPLOAD_BYTES = "upload-bytes"
    # At once, through each replica.
    CONCURRENT_REQUESTS = "concurrent-requests"
    EVENT_STREAMS = "event-streams"
    EXPORTS = "exports"
    CLIPS = "clips"
    # What exists.
    CAMERAS = "cameras"
    RULES = "rules"
    RULES_PER_CAMERA = "rules-per-camera"
    JOBS = "jobs"


RATES = (Quota.REQUESTS, Quota.DETECT, Quota.SEARCH, Quota.UPLOAD_BYTES)
AT_ONCE = (Quota.CONCURRENT_REQUESTS, Quota.EVENT_STREAMS, Quota.EXPORTS, Quota.CLIPS)

Limits = Mapping[Quota, int]
"""A limit for every quota."""


def limits_of(settings: Settings) -> Limits:
    """What every tenant may use."""
    quotas = settings.quotas
    return {
        Quota.REQUESTS: quotas.requests_per_minute,
        Quota.DETECT: quotas.detect_per_minute,
        Quota.SEARCH: quotas.search_per_minute,
        Quota.UPLOAD_BYTES: quotas.upload_mb_per_minute * MIB,
        Quota.CONCURRENT_REQUESTS: quotas.concurrent_requests,
        Quota.EVENT_STREAMS: quotas.event_streams,
        Quota.EXPORTS: quotas.exports,
        Quota.CLIPS: quotas.clips,
        Quota.CAMERAS: quotas.cameras,
        Quota.RULES: quotas.rules,
        Quota.RULES_PER_CAMERA: quotas.rules_per_camera,
        Quota.JOBS: settings.batch.jobs_per_tenant,
    }
