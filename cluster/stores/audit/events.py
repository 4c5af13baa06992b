"""What the audit log holds: who did what to which object, when, from where, with what outcome."""

from __future__ import annotations

import re
from enum import StrEnum
from functools import partial
from typing import Annotated

from pydantic import BeforeValidator, Field, JsonValue

from cluster.core.log import redact
from cluster.core.redaction import HIDDEN
from pipelines.domain import Frozen, Micros

MAX_ACTOR = 80
MAX_KIND = 24
MAX_ID = 255
MAX_ADDRESS = 64
MAX_REASON = 300
MAX_DETAILS = 12
MAX_DETAIL = 200
MAX_DETAIL_ITEMS = 16
MAX_DETAIL_ITEM = 40

MAX_AUDIT_PAGE = 500


class AuditAction(StrEnum):
    """Everything that can be logged. docs/api.md documents each; removing one is a breaking change,
    because old entries keep their names."""

    CREDENTIAL_REFUSED = "credential.refused"
    TENANT_ADD = "tenant.add"
    TENANT_EXPORT = "tenant.export"
    TENANT_MOVE = "tenant.move"
    USER_ADD = "user.add"
    USER_CHANGE = "user.change"
    USER_REMOVE = "user.remove"
    SESSION_BEGIN = "session.begin"
    SESSION_REFUSE = "session.refuse"
    SESSION_END = "session.end"
    SESSION_REUSE = "session.reuse"
    QUOTA_CHANGE = "quota.change"
    KEY_ISSUE = "key.issue"
    KEY_ROTATE = "key.rotate"
    KEY_REVOKE = "key.revoke"
    GROUP_ADD = "group.add"
    GROUP_CHANGE = "group.change"
    GROUP_REMOVE = "group.remove"
    CAMERA_ADD = "camera.add"
    CAMERA_CHANGE = "camera.change"
    CAMERA_REMOVE = "camera.remove"
    MASKS_CHANGE = "masks.change"
    MASKS_PAINT = "masks.paint"
    RULE_ADD = "rule.add"
    RULE_REMOVE = "rule.remove"
    LIVE_JOIN = "live.join"
    LIVE_UNMASKED = "live.unmasked"
    SNAPSHOT_VIEW = "snapshot.view"
    CLIP_LINK = "clip.link"
    RECORDING_LINK = "recording.link"
    MEDIA_READ = "media.read"
    EXPORT_DOWNLOAD = "export.download"
    EXPORT_MANIFEST = "export.manifest"
    SEARCH = "search"
    ALARM_ACKNOWLEDGE = "alarm.acknowledge"
    JOB_START = "job.start"
    JOB_CANCEL = "job.cancel"
    POLICY_CHANGE = "policy.change"
    HOLD_ADD = "hold.add"
    HOLD_REMOVE = "hold.remove"
    REVEAL_BEGIN = "reveal.begin"
    REVEAL_END = "reveal.end"
    RETENTION_REMOVE = "retention.remove"
    RETENTION_PRESSURE = "retention.pressure"
    ERASURE_START = "erasure.start"
    ERASURE_DONE = "erasure.done"
    MODEL_CHANGE = "model.change"
    SECRETS_REENCRYPT = "secrets.reencrypt"
    AUDIT_READ = "audit.read"
    AUDIT_LOST = "audit.lost"


class AuditOutcome(StrEnum):
    DONE = "done"
    REFUSED = "refused"


# An API key; its id may be known.
_KEY = re.compile(r"(?P<id>atk_[a-z0-9]{8}_)[\w-]++", re.ASCII)
# Ids of ours. To look for credentials in a text takes some 50 us, and these hold none: a key has an
# underscore, a token capitals, a URL a colon.
_HARMLESS = re.compile(r"[a-z0-9./-]*", re.ASCII)


def plain(text: object, limit: int) -> object:
    """A text as every database stores it: printable, without credentials, of at most `limit`
    characters. Anything else is returned as it is."""
    if not isinstance(text, str) or (len(text) <= limit and _HARMLESS.fullmatch(text)):
        return text
    # More than is kept, because what is hidden becomes shorter; not all, which may be long.
    head = limit * 2
    kept = _KEY.sub(rf"\g<id>{HIDDEN}", str(printable(text, head)))
    return redact(kept, limit, cut=len(text) > head)[:limit]


def printable(text: object, limit: int) -> object:
    """The same for texts that are ours and hold no credentials."""
    if not isinstance(text, str):
        return text
    kept = text[:limit]
    return kept if kept.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in kept)


def _plain_detail(value: object) -> object:
    if isinstance(value, list | tuple):
        return [plain(str(item), MAX_DETAIL_ITEM) for item in value[:MAX_DETAIL_ITEMS]]
    if value is None or isinstance(value, bool | int):
        return value
    # Floats have no canonical spelling in JSON, so they become texts.
    return plain(str(value), MAX_DETAIL)


def plain_details(details: object) -> object:
    """Details as an event has them: small and flat, texts plain. What is no dict stays as it is."""
    if not isinstance(details, dict):
        return details
    few = list(details.items())[:MAX_DETAILS]
    return {plain(str(name), MAX_KIND): _plain_detail(value) for name, value in few}


def _ours(limit: int) -> BeforeValidator:
    return BeforeValidator(partial(printable, limit=limit))


def _theirs(limit: int) -> BeforeValidator:
    return BeforeValidator(partial(plain, limit=limit))


class AuditEvent(Frozen):
    """One thing that happened, not yet in a chain. Texts are made printable and cut to size.

    Attributes:
        at_us: when, UTC microseconds.
        actor: who: `key:<id>`, `user:<id>`, or what acted by itself.
        address: of the client; None: unknown, or there is none.
        reason: why it was refused.
        details: small; strings, whole numbers, booleans, lists of strings.
    """

    at_us: int
    actor: Annotated[str, _ours(MAX_ACTOR)]
    action: AuditAction
    object_kind: Annotated[str, _ours(MAX_KIND)] = ""
    object_id: Annotated[str, _theirs(MAX_ID)] = ""
    address: Annotated[str | None, _ours(MAX_ADDRESS)] = None
    outcome: AuditOutcome = AuditOutcome.DONE
    reason: Annotated[str | None, _theirs(MAX_REASON)] = None
    details: Annotated[dict[str, JsonValue], BeforeValidator(plain_details)] = Field(
        default_factory=dict
    )


class AuditQuery(Frozen):
    """Which entries, newest first.

    Attributes:
        since_us: at or after, UTC microseconds.
        until_us: before, UTC microseconds.
        cursor: `next_cursor` of the page before; the other filters must be the same as there.
    """

    actor: Annotated[str, Field(max_length=MAX_ACTOR)] | None = None
    action: AuditAction | None = None
    since_us: Micros | None = None
    until_us: Micros | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_AUDIT_PAGE)] = 50
    cursor: Annotated[str, Field(max_length=200)] | None = None


PLATFORM_CHAIN = ""
"""Name of the platform's own chain, beside the tenants' slugs."""


def chain_name(tenant: str | None) -> str:
    """The chain of a tenant, or of the platform (None)."""
    return PLATFORM_CHAIN if tenant is None else tenant
