"""What an upload may hold in memory before it is parsed, and how many may be in flight.

Starlette keeps the first megabyte of a file in memory and the rest on disk, and all of a field that
is no file in memory. So the bounds are: one file, few and short fields, and MAX_UPLOADS at once,
from the first byte of the body to the answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import Request

from pipelines.errors import UnavailableError
from serve.api.slots import Slots

MULTIPART = "multipart/form-data"

# With one megabyte of a file, the fields and a result of at most 3 MB each, some 300 MB. Pictures
# are decoded two at a time, so more would only wait.
MAX_UPLOADS = 64

# A tenant on slow lines, or one that sends bodies and never ends them, leaves half to the others.
MAX_UPLOADS_PER_TENANT = MAX_UPLOADS // 2

MAX_FILES = 1
MAX_FIELDS = 8
MAX_FIELD_BYTES = 64 * 1024


class UploadSlots:
    """Counts the uploads in hand, of all and of each tenant. For one event loop."""

    def __init__(self, total: int = MAX_UPLOADS, per_tenant: int = MAX_UPLOADS_PER_TENANT) -> None:
        self._slots = Slots(total, per_tenant)

    @property
    def taken(self) -> int:
        return self._slots.taken

    @contextmanager
    def slot(self, tenant: str) -> Iterator[None]:
        """Hold one of the slots. Raises UnavailableError where all, or the tenant's, are taken."""
        if not self._slots.has_room(tenant):
            raise UnavailableError("Too many uploads are under way.", hint="Try again in a moment.")
        with self._slots.hold(tenant):
            yield


def media_type(request: Request) -> str:
    """The type of the body without its parameters, in lower case; empty where none is given."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()
