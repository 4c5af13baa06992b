"""Logs each request that the table names, once its answer begins or will never begin. Never holds
the answer up."""

from __future__ import annotations

from http import HTTPStatus

from starlette.datastructures import Headers, QueryParams
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cluster.stores.audit.events import AuditEvent, AuditOutcome, chain_name
from cluster.stores.db import Principal
from serve.api.audit.note import AuditNote
from serve.api.audit.recorder import Auditor
from serve.api.audit.table import AUDITED, Audited, Exchange
from serve.api.auth import peer


class AuditRequests:
    """ASGI middleware around all that answers, so that it sees failures, too."""

    def __init__(self, app: ASGIApp, auditor: Auditor) -> None:
        self._app = app
        self._auditor = auditor

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        note = AuditNote()
        scope.setdefault("state", {})["audit"] = note
        answered = False

        async def watched(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = True
                self._record(scope, message, note)
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            # Serve cancels a request whose client hangs up, also when its change is made already.
            if not answered:
                self._record(scope, None, note)

    def _record(self, scope: Scope, head: Message | None, note: AuditNote) -> None:
        # Set by the router: absent where the key was refused or nothing matched.
        template = getattr(scope.get("route"), "path_format", None)
        audited = AUDITED.get((scope["method"], template)) if template else None
        if audited is None:
            return
        who = _who(scope, note)
        if who is None:
            if head is not None:
                self._auditor.refuse(peer(scope), audited.refusal)
            return
        chain, actor = who
        event = _event(audited, scope, head, note, actor, self._auditor.clock.now_us())
        refused = event.outcome is AuditOutcome.REFUSED
        chains = (chain, *sorted(note.tenants - {chain}))
        self._auditor.record(event, chains, once=audited.once or (refused and _of_caller(head)))
        for action in note.also if not refused else ():
            other = event.model_copy(update={"action": action})
            self._auditor.record(other, chains, once=audited.once)


def _who(scope: Scope, note: AuditNote) -> tuple[str, str] | None:
    """Chain and actor, by the credential; None: a link, password or refresh token was refused."""
    principal: Principal | None = scope["state"].get("principal")
    if principal is not None:
        return chain_name(principal.tenant), principal.actor
    return note.link


def _of_caller(head: Message | None) -> bool:
    """Whether the answer was a client error. After any other failure a change may have been made
    all the same, so equal failures are not merged into one entry."""
    return head is not None and head["status"] < HTTPStatus.INTERNAL_SERVER_ERROR


def _failure(head: Message | None) -> str | None:
    """What was answered in place of a success; None: it was one."""
    if head is None:
        return "aborted before an answer"
    status = HTTPStatus(head["status"])
    return f"{status.value} {status.phrase}" if status >= HTTPStatus.BAD_REQUEST else None


def _event(
    audited: Audited, scope: Scope, head: Message | None, note: AuditNote, actor: str, at_us: int
) -> AuditEvent:
    query = QueryParams(scope["query_string"])
    location = Headers(raw=list((head or {}).get("headers", ()))).get("location", "")
    exchange = Exchange(scope.get("path_params", {}), query, location, note)
    reason = _failure(head)
    refused = reason is not None and not note.committed
    kept = {name: query[name] for name in audited.query if name in query}
    return AuditEvent(
        at_us=at_us,
        actor=actor,
        action=note.action or audited.action,
        object_kind=audited.kind,
        object_id=audited.id(exchange),
        address=peer(scope),
        outcome=AuditOutcome.REFUSED if refused else AuditOutcome.DONE,
        reason=reason,
        details={**kept, **note.details},
    )
