"""`/media/<token>`: the blob that a signed link names, whole or in ranges, block by block."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Path, Request, Response
from starlette.responses import StreamingResponse

from cluster.stores.db import Principal
from serve.api.audit.note import AuditNote, AuditNoteDep
from serve.api.media_links import MediaGrant
from serve.api.ports import BlobStore, Deps
from serve.api.problems import ForbiddenError, responses
from serve.api.ranges import Wanted, range_problem, same_version, wanted_bytes
from serve.api.state import StateDep

router = APIRouter(tags=["recordings"], responses=responses(403, 404, 422, 503))

# What a player reads at once, and what one client holds of our memory.
BLOCK_BYTES = 1024 * 1024
MAX_TOKEN_LENGTH = 2_048


_BYTES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"*/*": {}}, "description": "The file."},
    206: {"content": {"*/*": {}}, "description": "The requested range."},
    304: {"description": "You have this version."},
}


@dataclass(frozen=True, slots=True)
class Granted:
    """What a link opens, and the storage of the tenant that it is for.

    Attributes:
        still_good: whether the key or session of the link still is.
    """

    grant: MediaGrant
    seconds_left: int
    blobs: BlobStore
    still_good: Callable[[], Awaitable[bool]]


async def granted(
    token: Annotated[str, Path(max_length=MAX_TOKEN_LENGTH)], state: StateDep, note: AuditNoteDep
) -> Granted:
    """What a link opens.

    Raises:
        ForbiddenError: it is not ours, it has expired, its key or session has ended, or whoever
            asked for it does not see its camera any more.
        UnavailableError: the records are away.
    """
    links = state.evidence.links
    grant = links.open(token)
    note.link = grant.tenant, grant.by or "link"
    note.object_id = grant.key
    # Tells links apart, and opens nothing.
    note.details["link"] = sha256(token.encode()).hexdigest()[:16]
    holder = await state.holding.principal(grant.holder)
    if holder is None:
        raise ended()
    if grant.camera:
        await _check_sight(grant, holder, state.deps)
    await _check_masks(grant, state.deps)
    await _check_shows(grant, state.deps, note)
    still_good = partial(state.holding.may_go_on, grant.holder)
    return Granted(grant, links.seconds_left(grant), state.deps.blobs(grant.tenant), still_good)


def ended() -> ForbiddenError:
    return ForbiddenError(
        "This link has ended with the key or session that it was made for, or with its rights.",
        hint="Sign in, and ask for a new one where you got it.",
    )


async def _check_sight(grant: MediaGrant, holder: Principal, deps: Deps) -> None:
    """For links of callers who are limited to camera groups, whose cameras may change while a link
    works. Raises ForbiddenError."""
    if not await deps.database.visible(grant.tenant, holder.groups).among({grant.camera}):
        raise ForbiddenError("This link has ended.", hint="Its camera is no longer to be seen.")


async def _check_masks(grant: MediaGrant, deps: Deps) -> None:
    """Raises ForbiddenError: the camera got masks after the link was made, so that the file may
    show what is closed to its holder now."""
    if deps.settings.recording.before_mask == "allow" or not grant.shows.camera:
        return
    since_us = (await deps.database.tenant(grant.tenant).masked_cameras()).get(grant.shows.camera)
    if since_us is not None and grant.made_s * 1_000_000 < since_us:
        raise ForbiddenError(
            "This link is from before the camera had its privacy masks.",
            hint="Ask for a new one where you got it: GET /v1/alarms/{id}/clip or "
            "GET /v1/recordings.",
        )


async def _check_shows(grant: MediaGrant, deps: Deps, note: AuditNote) -> None:
    """Raises ForbiddenError: the file shows persons whom the policy hides now, and no reveal of
    the caller's is active."""
    if not grant.media_type.startswith(("video/", "image/")):
        return
    anonymisation, shows = deps.database.anonymisation(grant.tenant), grant.shows
    stored = await anonymisation.policy()
    rule = stored.policy.rule(shows.camera or None) if stored is not None else None
    if rule is None or shows.rule == rule.digest:
        return
    if shows.reveal and not shows.rule:
        note.details["reveal"] = shows.reveal
        reveal = await anonymisation.reveal(UUID(shows.reveal))
        if reveal.is_active(deps.clock.now_us()) and reveal.created_by == grant.by:
            return
    raise ForbiddenError(
        "This link shows persons who are hidden now.",
        hint="Ask for a new one where you got it: GET /v1/alarms/{id}/clip or GET /v1/recordings.",
    )


@router.get(
    "/media/{token}",
    summary="A file that a signed link names",
    response_class=Response,
    responses=_BYTES | responses(416),
)
@router.head(
    "/media/{token}",
    summary="What GET would answer, without the file",
    response_class=Response,
    responses=_BYTES | responses(416),
)
async def media(
    granted: Annotated[Granted, Depends(granted)],
    request: Request,
    range_: Annotated[str | None, Header(alias="Range")] = None,
    if_range: Annotated[str | None, Header()] = None,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Needs no key: the link itself is the permission, for as long as it works and the key or
    session that asked for it does. Single ranges of bytes are answered with 206."""
    grant, blobs = granted.grant, granted.blobs
    stat = await blobs.stat(grant.key)
    etag = f'"{stat.version}"'
    headers = _headers(grant, etag, granted.seconds_left)
    if if_none_match and same_version(if_none_match, etag, weak=True):
        return Response(status_code=304, headers=headers)
    if if_range and not same_version(if_range, etag, weak=False):
        range_ = None  # what the client has is of another version: it gets all of this one
    wanted = wanted_bytes(range_, stat.size)
    if wanted is None:
        return range_problem(stat.size)
    headers["Content-Length"] = str(wanted.end - wanted.start)
    if wanted.partial:
        headers["Content-Range"] = f"bytes {wanted.start}-{wanted.end - 1}/{stat.size}"
    status = 206 if wanted.partial else 200
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=grant.media_type)
    # The first block is read before anything is answered, so that its failure is a problem.
    first = await _block(blobs, grant.key, wanted, wanted.start)
    return StreamingResponse(
        _blocks(granted, wanted, first),
        status_code=status,
        headers=headers,
        media_type=grant.media_type,
    )


def _headers(grant: MediaGrant, etag: str, seconds_left: int) -> dict[str, str]:
    headers = {
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Cache-Control": _kept(grant, seconds_left),
    }
    if grant.filename:
        headers["Content-Disposition"] = f'attachment; filename="{grant.filename}"'
    return headers


def _kept(grant: MediaGrant, seconds_left: int) -> str:
    # What is shown under a reveal must not outlast it.
    return "no-store" if grant.shows.reveal else f"private, max-age={max(0, seconds_left)}"


async def _block(blobs: BlobStore, key: str, wanted: Wanted, start: int) -> bytes:
    return await blobs.read_range(key, start, min(start + BLOCK_BYTES, wanted.end))


async def _blocks(granted: Granted, wanted: Wanted, first: bytes) -> AsyncIterator[bytes]:
    """Block by block. Raises ForbiddenError: the key or session has ended meanwhile."""
    yield first
    for start in range(wanted.start + BLOCK_BYTES, wanted.end, BLOCK_BYTES):
        if not await granted.still_good():
            raise ended()
        yield await _block(granted.blobs, granted.grant.key, wanted, start)
