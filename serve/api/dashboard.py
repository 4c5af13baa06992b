"""`/` and `/docs`: built pages that ship inside the package. No Node at run time."""

from __future__ import annotations

import os
from pathlib import Path

from anyio import to_thread
from fastapi import APIRouter, FastAPI
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.staticfiles import PathLike, StaticFiles
from starlette.types import Scope

from serve.api.ranges import RangedFile
from serve.dashboard import STATIC_DIR

# What Linux, macOS and Windows allow for one name; `/assets` has no folders.
MAX_NAME_BYTES = 255

NOT_BUILT = """Atalaia is running, but its pages have not been built.

Build it once with `npm ci && npm run build` in serve/dashboard/web, then reload this page.
The API works without them; /openapi.json describes it.
"""


class HashedFiles(StaticFiles):
    """Files whose names change with their content: a browser never has to revalidate."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory=directory, check_dir=False)
        # Where the page has not been built, a file is missing like any other: 404, no failure.
        self.config_checked = True

    async def get_response(self, path: str, scope: Scope) -> Response:
        # Longer than any name in a file system, so that none has to be looked for.
        if len(path.encode()) > MAX_NAME_BYTES:
            raise HTTPException(404)
        response = await super().get_response(path, scope)
        if response.status_code == 200:
            response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response

    def file_response(
        self,
        full_path: PathLike,
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        if isinstance(response, FileResponse):
            return RangedFile(full_path, status_code, stat_result=stat_result)
        return response


def public_files(folder: Path) -> frozenset[str]:
    """Names of the files that lie in `folder` itself and are for the public; none where it is not
    there."""
    try:
        with os.scandir(folder) as entries:
            return frozenset(
                entry.name for entry in entries if entry.is_file() and entry.name[0] != "."
            )
    except FileNotFoundError:
        return frozenset()


def install_dashboard(app: FastAPI, static: Path = STATIC_DIR) -> None:
    """Serve the pages, hashed assets under `/assets`, and the few files beside the pages."""
    router = APIRouter(include_in_schema=False)

    async def file(name: str) -> Response | None:
        # A stranger's name is looked for among those that are there, and reaches no file system.
        # The folder is listed for each request, so that a page that was built is there at once.
        if name not in await to_thread.run_sync(public_files, static):
            return None
        return RangedFile(static / name, headers={"Cache-Control": "no-cache"})

    async def page(name: str) -> Response:
        return await file(name) or PlainTextResponse(
            NOT_BUILT, status_code=503, headers={"Retry-After": "60"}
        )

    @router.get("/")
    async def index() -> Response:
        return await page("index.html")

    @router.get("/docs")
    async def docs() -> Response:
        return await page("docs.html")

    @router.get("/{name}")
    async def beside(name: str) -> Response:
        found = await file(name)
        if found is None:
            raise HTTPException(404)
        return found

    app.mount("/assets", HashedFiles(static / "assets"), name="assets")
    app.include_router(router)
