"""Routes whose bodies are uploads: bounded forms, and a slot for each from its first byte on."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from serve.api.state import state_of
from serve.api.uploads import MAX_FIELD_BYTES, MAX_FIELDS, MAX_FILES, MULTIPART, media_type


class UploadRequest(Request):
    """A request whose form is bounded for every reader."""

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
            # The body is read before any dependency runs, so there is no TenantScope yet.
            principal = getattr(request.state, "principal", None)
            with state_of(request.app).uploads.slot(getattr(principal, "tenant", None) or ""):
                return await handle(UploadRequest(request.scope, request.receive))

        return bounded
