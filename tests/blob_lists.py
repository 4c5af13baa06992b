"""What a storage holds, for tests that look at all of it."""

from __future__ import annotations

from cluster.stores.blobs.tenant import ListedBlob, TenantBlobs


async def listing(blobs: TenantBlobs, start: str) -> list[ListedBlob]:
    """The blobs of one folder whose keys begin with `start`, like `clips/0`, by key."""
    folder, _, name = start.rpartition("/")
    pages = blobs.pages(folder, name[:1])
    return [blob async for page in pages for blob in page if blob.key.startswith(start)]
