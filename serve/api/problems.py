"""Every error leaves as RFC 9457 `application/problem+json`, and none with a stack trace.

The members: `type` (a URN that names the kind), `title`, `status`, `detail`, and ours:
`code` (the kind, for programs), `hint` (what to do next), `errors` (one per wrong field, with a
JSON pointer into the body or the name of the parameter), `permission` (which one is missing).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cluster.core.log import get_logger, redact
from cluster.core.roles import Permission
from pipelines.domain import RuleKind
from pipelines.errors import (
    AtalaiaError,
    CameraError,
    ConflictError,
    InputError,
    ModelError,
    NotFoundError,
    QuotaReachedError,
    UnavailableError,
)

MEDIA_TYPE = "application/problem+json"

# The status board and the controller settle within a few seconds; an earlier retry only adds load.
RETRY_AFTER_S = 2

# A sentence or two for a person. What is longer quotes what the caller sent.
MAX_DETAIL = 500
# Of a piece of the request that an error quotes: enough to recognize it.
MAX_QUOTED = 80
# Wrong values that one answer points at; a rule with 64 corners has that many coordinates and more.
MAX_FIELD_ERRORS = 200
# Of each name that leads to one; ours are short; unknown names are the caller's.
MAX_POINTER = 200

log = get_logger("api")


class UnauthorizedError(AtalaiaError):
    """No credential, or an unknown one."""

    code = "unauthorized"


class ForbiddenError(AtalaiaError):
    """The credential is good, but not for this."""

    code = "forbidden"


class PermissionDeniedError(ForbiddenError):
    """The caller's role lacks the permission that a route needs."""

    def __init__(self, message: str, permission: Permission, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.permission = permission


class TooManyRequestsError(AtalaiaError):
    """Too many requests; retry after `retry_after_s`."""

    code = "too-many-requests"
    retryable = True

    def __init__(self, message: str, *, hint: str = "", retry_after_s: int = RETRY_AFTER_S) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class QuotaExceededError(TooManyRequestsError):
    """Your tenant or key has used as much of the quota `quota` as it may, for now."""

    code = "quota-exceeded"

    def __init__(self, message: str, *, hint: str, quota: str, retry_after_s: int) -> None:
        super().__init__(message, hint=hint, retry_after_s=retry_after_s)
        self.quota = quota


class StorageFullError(QuotaReachedError):
    """The tenant uses all of the storage that it may."""


class TenantElsewhereError(AtalaiaError):
    """The tenant lives in another cluster; `url` is that of its API."""

    code = "tenant-elsewhere"

    def __init__(self, message: str, *, hint: str, url: str) -> None:
        super().__init__(message, hint=hint)
        self.url = url


class TooLargeError(InputError):
    code = "too-large"


class MediaTypeError(InputError):
    code = "unsupported-media-type"


class FieldError(BaseModel):
    """One wrong value of the request."""

    detail: str
    pointer: str | None = Field(None, description="JSON pointer into the body, as a URI fragment")
    parameter: str | None = Field(None, description="name of the path, query or header parameter")


class Problem(BaseModel):
    """RFC 9457 problem details."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "type": "urn:atalaia:problem:not-found",
                "title": "Not Found",
                "status": 404,
                "detail": "There is no camera 'gate'.",
                "code": "not-found",
                "hint": "GET /v1/cameras lists your cameras.",
            }
        }
    )

    type: str
    title: str
    status: Annotated[int, Field(ge=400, le=599)]
    detail: str
    code: str
    hint: str | None = None
    errors: list[FieldError] | None = None
    permission: str | None = Field(None, description="Which permission is missing (403).")
    quota: str | None = Field(None, description="which one is used up; GET /v1/quotas shows it")
    url: str | None = Field(None, description="Of the API that serves your tenant (421).")


# First match wins, so a subclass stands before its base.
_STATUS: tuple[tuple[type[AtalaiaError], HTTPStatus], ...] = (
    (UnauthorizedError, HTTPStatus.UNAUTHORIZED),
    (ForbiddenError, HTTPStatus.FORBIDDEN),
    (TooManyRequestsError, HTTPStatus.TOO_MANY_REQUESTS),
    (TenantElsewhereError, HTTPStatus.MISDIRECTED_REQUEST),
    (TooLargeError, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (MediaTypeError, HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
    (NotFoundError, HTTPStatus.NOT_FOUND),
    (StorageFullError, HTTPStatus.INSUFFICIENT_STORAGE),
    (ConflictError, HTTPStatus.CONFLICT),
    (InputError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (CameraError, HTTPStatus.SERVICE_UNAVAILABLE),
    (ModelError, HTTPStatus.SERVICE_UNAVAILABLE),
    (UnavailableError, HTTPStatus.SERVICE_UNAVAILABLE),
)

_CODES: dict[int, str] = {
    400: "malformed-request",
    401: UnauthorizedError.code,
    403: ForbiddenError.code,
    404: NotFoundError.code,
    405: "method-not-allowed",
    408: "request-timeout",
    413: TooLargeError.code,
    414: "address-too-long",
    415: MediaTypeError.code,
    416: "range-not-satisfiable",
    422: InputError.code,
    429: TooManyRequestsError.code,
    421: "misdirected",
    431: "headers-too-large",
    503: UnavailableError.code,
}


def status_of(error: AtalaiaError) -> HTTPStatus:
    """The HTTP status for this kind of error."""
    for kind, status in _STATUS:
        if isinstance(error, kind):
            return status
    return HTTPStatus.INTERNAL_SERVER_ERROR


def problem_response(
    status: int,
    detail: str,
    *,
    code: str | None = None,
    hint: str = "",
    errors: Sequence[FieldError] | None = None,
    headers: Mapping[str, str] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> JSONResponse:
    """A problem document as a response; `extra` adds members that belong to one kind of problem."""
    code = code or _CODES.get(status, "error")
    problem = Problem(
        type=f"urn:atalaia:problem:{code}",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=_sayable(detail, MAX_DETAIL),
        code=code,
        hint=_sayable(hint, MAX_DETAIL) or None,
        errors=list(errors) if errors else None,
    )
    return JSONResponse(
        {**problem.model_dump(exclude_none=True), **(extra or {})},
        status_code=status,
        headers=dict(headers or {}),
        media_type=MEDIA_TYPE,
    )


def quoted(text: str) -> str:
    """A piece of what the caller sent, as an error may show it: short, and without credentials."""
    return redact(text, MAX_QUOTED)


def _sayable(text: str, limit: int) -> str:
    """`text`, which may hold some of the request, without credentials, cut, and as UTF-8 has it:
    JSON can name the half of a surrogate pair, which nothing can encode."""
    return redact(text, limit).encode("utf-8", "replace").decode("utf-8")


def response_for(error: AtalaiaError) -> JSONResponse:
    """The problem document of one of our errors."""
    status = status_of(error)
    headers: dict[str, str] = {}
    if status is HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="atalaia"'
    if isinstance(error, TooManyRequestsError):
        headers["Retry-After"] = str(error.retry_after_s)
    elif status is HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = str(RETRY_AFTER_S)
    if status is HTTPStatus.INTERNAL_SERVER_ERROR:
        # A wrong setting is the operator's to read in the log, not the caller's.
        log.error("request failed", code=error.code, error=str(error))
        return internal_error()
    extra: dict[str, Any] = {}
    if isinstance(error, PermissionDeniedError):
        extra["permission"] = error.permission
    if isinstance(error, QuotaExceededError | QuotaReachedError):
        extra["quota"] = error.quota
    if isinstance(error, TenantElsewhereError):
        extra["url"] = error.url
    return problem_response(
        status, error.message, code=error.code, hint=error.hint, headers=headers, extra=extra
    )


def internal_error() -> JSONResponse:
    return problem_response(
        500,
        "The server failed to answer this request; the failure is in its log.",
        code="internal",
        hint="If it happens again, give the operator the time and the X-Request-ID of this answer.",
    )


_TAGS = frozenset(RuleKind)


def field_errors(errors: Sequence[Mapping[str, Any]]) -> list[FieldError]:
    """Pydantic's errors as ours, at most `MAX_FIELD_ERRORS`. What the caller sent is left out: it
    may hold a credential."""
    found = []
    for error in errors[:MAX_FIELD_ERRORS]:
        where, *path = (str(part) for part in error["loc"]) if error["loc"] else ("body",)
        detail = _sayable(str(error["msg"]).removeprefix("Value error, "), MAX_DETAIL)
        if where == "body":
            # Pydantic names the member of a tagged union too, which is no place in the body.
            path = path[1:] if path and path[0] in _TAGS else path
            # Each part by itself: a pointer's own escapes would hide what a URL in it is.
            pointer = json_pointer([_sayable(part, MAX_POINTER) for part in path])
            found.append(FieldError(detail=detail, pointer=pointer))
        else:
            name = path[0] if path else where
            found.append(FieldError(detail=detail, parameter=_sayable(name, MAX_POINTER)))
    return found


def json_pointer(path: Sequence[str]) -> str:
    """RFC 6901 pointer in its URI fragment form, e.g. `#/polygon/0/1`."""
    return "#" + "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in path)


async def _on_atalaia_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, AtalaiaError)
    return response_for(error)


async def _on_validation_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = error.errors()
    if any(item["type"] == "json_invalid" for item in errors):
        return problem_response(400, "The body is not valid JSON.")
    found = field_errors(errors)
    some = "A value" if len(errors) == 1 else f"{len(errors)} values"
    return problem_response(
        422, f"{some} of the request cannot be used; see `errors`.", errors=found
    )


async def _on_http_exception(
    request: Request, error: Exception, *, routes: Sequence[Route]
) -> Response:
    assert isinstance(error, HTTPException)
    status = error.status_code
    headers = dict(error.headers or {})
    if status == 404:
        return problem_response(404, "There is nothing at this address.", hint="See /docs.")
    if status == 405:
        detail = f"{request.method} is not possible here."
        allowed = _allowed_methods(request.url.path, routes)
        return problem_response(
            405, detail, hint=f"Allowed: {allowed}.", headers={"Allow": allowed}
        )
    return problem_response(status, str(error.detail), headers=headers)


def _allowed_methods(path: str, routes: Sequence[Route]) -> str:
    """All methods of an address; the router knows only those of the first route that it found."""
    methods: set[str] = set()
    for route in routes:
        if route.path_regex.match(path):
            methods |= route.methods or set()
    return ", ".join(sorted(methods)) or "GET"


class LastResort:
    """Outermost but one: what no handler knows is logged here and leaves as a bare 500 problem."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def watch(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except Exception:  # the top of a request's task
            log.exception("request failed", method=scope["method"], path=scope["path"])
            if started:
                raise
            await internal_error()(scope, receive, send)


def install_handlers(app: FastAPI, routes: Sequence[Route]) -> None:
    """Make `app` answer every error with a problem document.

    Args:
        routes: all that it has; a 405 lists the methods of an address.
    """
    app.add_exception_handler(AtalaiaError, _on_atalaia_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, partial(_on_http_exception, routes=routes))


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI `responses` for the errors a route can give."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }
