"""The HTTP client of the command line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from cluster.cli.common import running_api, starting_hint
from cluster.cli.view import CameraLine
from cluster.core.files import read_json
from cluster.core.settings import KEY_VARIABLE, Settings
from cluster.local.stack import running_owner
from pipelines.domain import CameraState
from pipelines.errors import (
    AtalaiaError,
    ConflictError,
    InputError,
    NotFoundError,
    UnavailableError,
)

TIMEOUT_S = 10.0
"""Default per request."""
BLOCK_BYTES = 1024 * 1024
"""Written to the file at a time, so that the thread switch per block does not matter."""
ACCESS_FILE = "demo.json"
PLATFORM = "platform"

_KINDS: dict[int, type[AtalaiaError]] = {404: NotFoundError, 409: ConflictError}


class ApiClient:
    """One tenant's view of a running Atalaia.

    Args:
        base: URL of the API.
        key: the API key, which determines the tenant.
    """

    def __init__(self, base: str, key: str) -> None:
        self._base = base.rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}"}

    async def request(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        timeout_s: float = TIMEOUT_S,
    ) -> Any:
        """Send a request; returns the decoded response, or None if it has no body.

        Raises:
            InputError, NotFoundError, ConflictError: the API refused; has the API's message.
            UnavailableError: it cannot be reached, or it failed.
        """
        async with self._client(timeout_s) as client:
            response = await client.request(method, self._base + path, json=body)
        if not response.is_success:
            raise _problem(response)
        return response.json() if response.content else None

    async def download(
        self,
        path: str,
        target: Path,
        on_bytes: Callable[[int, int | None], None],
        *,
        timeout_s: float,
    ) -> httpx.Headers:
        """Stream a response into a file.

        Args:
            target: replaced once the response is complete.
            on_bytes: called with the bytes received so far and the total, if known.
            timeout_s: how long the API may take before the first byte, and between two chunks.

        Returns:
            The response headers.

        Raises:
            InputError: the API refused, or the file cannot be written.
            UnavailableError: the API cannot be reached, or it failed.
        """
        part = target.with_name(f"{target.name}.part")
        try:
            async with (
                self._client(timeout_s) as client,
                client.stream("GET", self._base + path) as response,
            ):
                if not response.is_success:
                    await response.aread()
                    raise _problem(response)
                length = response.headers.get("content-length")
                with await asyncio.to_thread(part.open, "wb") as file:
                    async for block in response.aiter_bytes(BLOCK_BYTES):
                        await asyncio.to_thread(file.write, block)
                        on_bytes(file.tell(), int(length) if length else None)
            await asyncio.to_thread(part.replace, target)
        except OSError as error:
            raise InputError(f"cannot write {target}: {error.strerror}.") from None
        finally:
            await asyncio.to_thread(part.unlink, missing_ok=True)
        return response.headers

    @asynccontextmanager
    async def _client(self, timeout_s: float) -> AsyncIterator[httpx.AsyncClient]:
        """An HTTP client whose transport errors are converted to ours."""
        try:
            async with httpx.AsyncClient(timeout=timeout_s, headers=self._headers) as client:
                yield client
        except httpx.InvalidURL as error:
            raise InputError(f"{self._base} is not a URL: {error}") from None
        except httpx.TransportError as error:
            raise UnavailableError(
                f"the API at {self._base} does not answer ({type(error).__name__}).",
                hint="Is Atalaia running? Check with `atalaia status`, start it with `atalaia up`.",
            ) from None

    async def cameras(self) -> list[dict[str, Any]]:
        """Every camera of the tenant, in the API's format. Raises like `request`."""
        listed = await self.request("GET", "/v1/cameras")
        return list(listed["cameras"])


def _problem(response: httpx.Response) -> AtalaiaError:
    """Convert the API's problem+json to the corresponding error."""
    try:
        problem = response.json()
    except ValueError:
        problem = {}
    if not isinstance(problem, dict):
        problem = {}
    message = str(problem.get("detail") or problem.get("title") or f"HTTP {response.status_code}")
    for item in problem.get("errors") or ():
        if isinstance(item, dict):
            where = str(item.get("pointer") or item.get("parameter") or "")
            if where not in message:
                message += f"\n  {where}: {item.get('detail', '')}"
    hint = str(problem.get("hint") or "")
    if response.status_code == 401:
        hint = hint or f"Give a key with --key or {KEY_VARIABLE}; `atalaia key create` makes one."
    if response.status_code >= 500:
        return UnavailableError(message, hint=hint)
    return _KINDS.get(response.status_code, InputError)(message, hint=hint)


def camera_line(tenant: str, camera: dict[str, Any]) -> CameraLine:
    """Convert one camera of `GET /v1/cameras` for the running view."""
    state = CameraState(camera["state"])
    stats = camera.get("stats") or {}
    facts = [camera.get("reason") or ""] if state is not CameraState.LIVE else []
    if state is CameraState.LIVE and stats.get("fps") is not None:
        facts.append(f"{stats['fps']:.0f} fps")
        if stats.get("watched_fps") is not None:
            facts.append(f"{stats['watched_fps']:.1f} analysed/s")
    return CameraLine(tenant, camera["id"], state, ", ".join(fact for fact in facts if fact))


async def camera_lines(base: str, keys: dict[str, str]) -> list[CameraLine]:
    """The cameras of several tenants; `keys` by tenant. Raises like `ApiClient.request`."""
    lines = []
    for tenant, key in keys.items():
        lines += [camera_line(tenant, camera) for camera in await ApiClient(base, key).cameras()]
    return lines


def find_client(settings: Settings, key: str | None, tenant: str | None) -> ApiClient:
    """A client with the given key, else with the key of a tenant of the local demo.

    Args:
        key: from `--key` or the environment.
        tenant: which of the demo's keys to use; default: the first tenant's.

    Raises:
        InputError: there is no key; the hint says where to get one.
    """
    base = running_api(settings)
    if key:
        return ApiClient(base, key)
    access = read_json(settings.run_dir / ACCESS_FILE) or {}
    keys = {name: k for name, k in (access.get("keys") or {}).items() if name != PLATFORM}
    if tenant is None and keys:
        tenant = next(iter(keys))
    if tenant is None or tenant not in keys:
        known = f" The demo here has: {', '.join(keys)}." if keys else ""
        raise InputError(
            f"no key for {tenant or 'any tenant'}.{known}",
            hint=_key_hint(settings, "TENANT", starting=not keys),
        )
    return ApiClient(base, keys[tenant])


def find_platform_client(settings: Settings, key: str | None) -> ApiClient:
    """A client with the given platform key, else with that of the local demo.

    Raises:
        InputError: there is no key; the hint says where to get one.
    """
    access = read_json(settings.run_dir / ACCESS_FILE) or {}
    key = key or (access.get("keys") or {}).get(PLATFORM)
    if not key:
        raise InputError(
            "no platform key.", hint=_key_hint(settings, "--platform", starting=not access)
        )
    return ApiClient(running_api(settings), key)


def _key_hint(settings: Settings, of: str, *, starting: bool) -> str:
    """Where a key comes from. A demo has its keys when it is ready."""
    hint = f"Give one with --key or {KEY_VARIABLE}; `atalaia key create {of}` makes one."
    owner = running_owner(settings) if starting else None
    return hint if owner is None else f"{starting_hint(owner)}\n{hint}"
