"""What an upload may hold in memory before anybody looks at it, and how many may be in hand.

Starlette keeps the first megabyte of a file in memory and the rest on disk, and all of a field that
is no file in memory. So the bounds are: one file, few and short fields, and MAX_UPLOADS at once,
from the first byte of the body to the answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from pipelines.errors import UnavailableError

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
        self._total = total
        self._per_tenant = per_tenant
        self._taken: Counter[str] = Counter()

    @property
    def taken(self) -> int:
        return self._taken.total()

    @contextmanager
    def slot(self, tenant: str) -> Iterator[None]:
        """Hold one of the slots. Raises UnavailableError where all, or the tenant's, are taken."""
        if self.taken >= self._total or self._taken[tenant] >= self._per_tenant:
            raise UnavailableError("Too many uploads are under way.", hint="Try again in a moment.")
        self._taken[tenant] += 1
        try:
            yield
        finally:
            self._taken[tenant] -= 1
            if not self._taken[tenant]:
                del self._taken[tenant]


class UploadRequest(Request):
    """A request whose form is bounded, whoever reads it."""

    def form(
        self,
        *,
        max_files: int | float = MAX_FILES,
        max_fields: int | float = MAX_FIELDS,
        max_part_size: int = MAX_FIELD_BYTES,
    ) -> Any:  # Starlette does not export the type.
        return super().form(max_files=max_files, max_fields=max_fields, max_part_size=max_part_size)


class UploadRoute(APIRoute):
    """A route that takes a slot before it reads a form, and keeps it until it has answered."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def bounded(request: Request) -> Response:
            if media_type(request) != MULTIPART:
                return await handle(request)
            slots: UploadSlots = request.app.state.uploads
            principal = getattr(request.state, "principal", None)
            with slots.slot(getattr(principal, "tenant", None) or ""):
                return await handle(UploadRequest(request.scope, request.receive))

        return bounded


def media_type(request: Request) -> str:
    """The type of the body without its parameters, in lower case; empty where none is given."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()
