"""The blob storages of all tenants that this process has used, each opened once."""

from __future__ import annotations

from cluster.stores.blobs.tenant import TenantBlobs


class BlobPool:
    """Gives the storage of a tenant. Each holds a few threads, so it is kept, and closed with us.

    Args:
        url: `Settings.blob_url`.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._open: dict[str, TenantBlobs] = {}

    def __call__(self, tenant: str) -> TenantBlobs:
        if tenant not in self._open:
            self._open[tenant] = TenantBlobs(self._url, tenant)
        return self._open[tenant]

    async def aclose(self) -> None:
        """Idempotent."""
        while self._open:
            _, blobs = self._open.popitem()
            await blobs.aclose()
