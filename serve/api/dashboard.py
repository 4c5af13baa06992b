"""`/` and `/docs`: built pages that ship inside the package. No Node at run time."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, FastAPI
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from serve.dashboard import STATIC_DIR

NOT_BUILT = """Atalaia is running, but its pages have not been built.

Build it once with `npm ci && npm run build` in serve/dashboard/web, then reload this page.
The API works without them; /openapi.json describes it.
"""


class HashedFiles(StaticFiles):
    """Files whose names change with their content: a browser never has to ask again."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory=directory, check_dir=False)
        # Where the page has not been built, a file is missing like any other: 404, no failure.
        self.config_checked = True

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        if response.status_code == 200:
            response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response


def install_dashboard(app: FastAPI, static: Path = STATIC_DIR) -> None:
    """Serve the pages, hashed assets under `/assets`, and the few files beside the pages."""
    router = APIRouter(include_in_schema=False)

    def page(name: str) -> Response:
        file = static / name
        if not file.is_file():
            return PlainTextResponse(NOT_BUILT, status_code=503, headers={"Retry-After": "60"})
        return FileResponse(file, headers={"Cache-Control": "no-cache"})

    @router.get("/")
    async def index() -> Response:
        return page("index.html")

    @router.get("/docs")
    async def docs() -> Response:
        return page("docs.html")

    @router.get("/{name}")
    async def beside(name: str) -> Response:
        # One path segment, so it cannot climb; dot files are not for the public.
        file = static / name
        if name.startswith(".") or not file.is_file():
            raise HTTPException(404)
        return FileResponse(file, headers={"Cache-Control": "no-cache"})

    app.mount("/assets", HashedFiles(static / "assets"), name="assets")
    app.include_router(router)
