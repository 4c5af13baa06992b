"""What makes files is refused while a tenant is above its quota of the storage."""

from __future__ import annotations

from serve.api.problems import StorageFullError
from serve.api.quotas.limits import Quota
from serve.api.scope import TenantScope


async def storage_full(scope: TenantScope) -> bool:
    """Whether the tenant was above its quota when retention last measured it: it brings it below
    that where it may. Raises UnavailableError."""
    use = await scope.retention.storage()
    return use is not None and use.total > await scope.quotas.limit(Quota.STORAGE_BYTES)


def full_error() -> StorageFullError:
    """The refusal of what would make files."""
    return StorageFullError(
        "Your tenant uses all of the storage that it may.",
        hint="Release legal holds, set shorter limits in the retention policy, or ask the operator "
        "for a higher quota.",
        quota=Quota.STORAGE_BYTES,
    )


async def require_storage(scope: TenantScope) -> None:
    """Raises StorageFullError, UnavailableError."""
    if await storage_full(scope):
        raise full_error()
