"""`/media/<token>`: the blob that a signed link names, whole or in ranges, block by block."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Path, Request, Response
from starlette.responses import StreamingResponse

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
    """What a link opens, and the storage of the tenant that it is for."""

    grant: MediaGrant
    seconds_left: int
    blobs: BlobStore


async def granted(
    token: Annotated[str, Path(max_length=MAX_TOKEN_LENGTH)], state: StateDep, note: AuditNoteDep
) -> Granted:
    """Raises ForbiddenError: the link is not ours, or it has expired."""
    links = state.evidence.links
    grant = links.open(token)
    note.link = grant.tenant, grant.by or "link"
    note.object_id = grant.key
    # Tells links apart, and opens nothing.
    note.details["link"] = sha256(token.encode()).hexdigest()[:16]
    await _check_shows(grant, state.deps, note)
    return Granted(grant, links.seconds_left(grant), state.deps.blobs(grant.tenant))


async def _check_shows(grant: MediaGrant, deps: Deps, note: AuditNote) -> None:
    """Raises ForbiddenError: the policy hides persons of whom the file shows more, and there is no
    reveal (any more)."""
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
    """Needs no key: the link itself is the permission, for as long as it works. Single ranges of
    bytes are answered with 206."""
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
        _blocks(blobs, grant.key, wanted, first),
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


async def _blocks(blobs: BlobStore, key: str, wanted: Wanted, first: bytes) -> AsyncIterator[bytes]:
    yield first
    for start in range(wanted.start + BLOCK_BYTES, wanted.end, BLOCK_BYTES):
        yield await _block(blobs, key, wanted, start)
