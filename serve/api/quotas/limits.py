"""The quotas by name, and how much of each a tenant may use."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from cluster.core.log import get_logger
from cluster.core.names import FRAMES_QUOTA, JOBS_QUOTA, STORAGE_QUOTA
from cluster.core.settings import Settings
from cluster.stores.db import PlatformRecords
from pipelines.clock import Clock
from pipelines.errors import AtalaiaError

WINDOW_S = 60.0
MIB = 1024 * 1024


log = get_logger("api.quotas")


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
    JOBS = JOBS_QUOTA
    ANALYSED_FRAMES = FRAMES_QUOTA
    STORAGE_BYTES = STORAGE_QUOTA


RATES = (Quota.REQUESTS, Quota.DETECT, Quota.SEARCH, Quota.UPLOAD_BYTES)
AT_ONCE = (Quota.CONCURRENT_REQUESTS, Quota.EVENT_STREAMS, Quota.EXPORTS, Quota.CLIPS)

# SQL is asked for the limits of a tenant this often. A change holds in every replica after that.
KNOWN_FOR_S = 10.0

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
        Quota.ANALYSED_FRAMES: quotas.analysed_frames_per_second,
        Quota.STORAGE_BYTES: quotas.storage_bytes,
    }


class TenantLimits:
    """The limits of each tenant: those of all, but where the platform gave it others.

    Args:
        usual: of all tenants.
        records: where the others are.
    """

    def __init__(self, usual: Limits, records: PlatformRecords, clock: Clock) -> None:
        self.usual = usual
        self._records = records
        self._clock = clock
        self._known: dict[str, tuple[Limits, float]] = {}

    async def of(self, tenant: str | None) -> Limits:
        """Never raises: while SQL is away, they are what they were, or those of all. None: the
        platform's, which are those of all."""
        if tenant is None:
            return self.usual
        limits, until_s = self._known.get(tenant, (self.usual, 0.0))
        now_s = self._clock.monotonic()
        if tenant in self._known and now_s < until_s:
            return limits
        if tenant in self._known:
            # Who comes meanwhile takes what is known, and does not ask as well.
            self._known[tenant] = limits, now_s + KNOWN_FOR_S
        try:
            limits = self.with_own(await self._records.quotas(tenant))
        except AtalaiaError as error:
            log.warning("limits of a tenant not read", tenant=tenant, reason=error.message)
        self._known[tenant] = limits, now_s + KNOWN_FOR_S
        return limits

    def with_own(self, own: Mapping[str, int]) -> Limits:
        """The limits of a tenant that has these of its own; unknown names are those of another
        version."""
        return {quota: own.get(quota, amount) for quota, amount in self.usual.items()}

    def forget(self, tenant: str) -> None:
        """Ask again at once."""
        self._known.pop(tenant, None)
