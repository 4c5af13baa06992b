"""What is logged of each route. A test compares it with the OpenAPI document: a new route must be
in one of the two tables."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cluster.stores.audit.events import AuditAction
from serve.api.audit.note import AuditNote
from serve.api.audit.windows import Refusal


@dataclass(frozen=True, slots=True)
class Exchange:
    """What is known of a request and of the head of its answer.

    Attributes:
        path, query: parameters, as texts.
        location: of the new thing, relative; empty: the answer names none.
    """

    path: Mapping[str, str]
    query: Mapping[str, str]
    location: str
    note: AuditNote


IdSource = Callable[[Exchange], str]


# Slugs, UUIDs, ids of keys, names of tracks, keys of pictures. Whatever else somebody wrote into an
# address was refused, and may be a password.
_ID = re.compile(r"[A-Za-z0-9%._~/-]*", re.ASCII)
INVALID = "(invalid)"


def _from_path(exchange: Exchange, name: str) -> str:
    value = str(exchange.path.get(name, ""))
    return value if _ID.fullmatch(value) else INVALID


def path(*names: str) -> IdSource:
    """From the address."""
    return lambda exchange: "/".join(_from_path(exchange, name) for name in names)


def query(name: str) -> IdSource:
    """From the query; empty: the request is about all of them."""
    return lambda exchange: exchange.query.get(name, "")


def location(*names: str) -> IdSource:
    """The new thing's own id, behind those of the address."""

    def source(exchange: Exchange) -> str:
        known = [_from_path(exchange, name) for name in names]
        made = exchange.location.rpartition("/")[2]
        return "/".join([*known, made] if made else known)

    return source


def noted(exchange: Exchange) -> str:
    """From the route itself."""
    return exchange.note.object_id


def nothing(_: Exchange) -> str:
    """It is about no single thing."""
    return ""


@dataclass(frozen=True, slots=True)
class Audited:
    """How one route is logged.

    Attributes:
        kind: of the object.
        id: where its id comes from.
        query: parameters that are kept as details.
        once: the same request of the same actor is logged once per minute. For views, which pages
            repeat and players split into ranges; never for changes.
        refusal: as what a request is counted of which nobody knows who made it.
    """

    action: AuditAction
    kind: str
    id: IdSource
    query: tuple[str, ...] = ()
    once: bool = False
    refusal: Refusal = Refusal.LINK


_A = AuditAction
_SEARCHED = ("like", "like_camera", "camera", "class", "colour", "since", "until")

AUDITED: dict[tuple[str, str], Audited] = {
    # users, tenants and keys
    ("POST", "/v1/auth/login"): Audited(
        _A.SESSION_BEGIN, "session", noted, refusal=Refusal.SESSION
    ),
    ("POST", "/v1/auth/logout"): Audited(_A.SESSION_END, "session", noted, refusal=Refusal.SESSION),
    ("POST", "/v1/auth/password"): Audited(_A.USER_CHANGE, "user", noted),
    ("POST", "/v1/users"): Audited(_A.USER_ADD, "user", location()),
    ("PATCH", "/v1/users/{user}"): Audited(_A.USER_CHANGE, "user", path("user")),
    ("DELETE", "/v1/users/{user}"): Audited(_A.USER_REMOVE, "user", path("user")),
    ("POST", "/v1/tenants"): Audited(_A.TENANT_ADD, "tenant", noted),
    ("PUT", "/v1/tenants/{tenant}/quotas"): Audited(_A.QUOTA_CHANGE, "tenant", path("tenant")),
    ("POST", "/v1/keys"): Audited(_A.KEY_ISSUE, "key", location()),
    ("POST", "/v1/keys/{key}/rotate"): Audited(_A.KEY_ROTATE, "key", path("key")),
    ("DELETE", "/v1/keys/{key}"): Audited(_A.KEY_REVOKE, "key", path("key")),
    ("POST", "/v1/groups"): Audited(_A.GROUP_ADD, "group", location()),
    ("PATCH", "/v1/groups/{group}"): Audited(_A.GROUP_CHANGE, "group", path("group")),
    ("DELETE", "/v1/groups/{group}"): Audited(_A.GROUP_REMOVE, "group", path("group")),
    ("PUT", "/v1/model"): Audited(_A.MODEL_CHANGE, "model", noted),
    # cameras, masks, rules
    ("POST", "/v1/cameras"): Audited(_A.CAMERA_ADD, "camera", noted),
    ("PATCH", "/v1/cameras/{camera}"): Audited(_A.CAMERA_CHANGE, "camera", path("camera")),
    ("DELETE", "/v1/cameras/{camera}"): Audited(_A.CAMERA_REMOVE, "camera", path("camera")),
    ("POST", "/v1/cameras/{camera}/rules"): Audited(_A.RULE_ADD, "rule", location("camera")),
    ("DELETE", "/v1/cameras/{camera}/rules/{rule}"): Audited(
        _A.RULE_REMOVE, "rule", path("camera", "rule")
    ),
    # who looks
    ("POST", "/v1/cameras/{camera}/join"): Audited(_A.LIVE_JOIN, "camera", path("camera")),
    ("POST", "/v1/cameras/{camera}/join/unmasked"): Audited(
        _A.LIVE_UNMASKED, "camera", path("camera")
    ),
    ("GET", "/v1/cameras/{camera}/snapshot"): Audited(
        _A.SNAPSHOT_VIEW, "camera", path("camera"), once=True
    ),
    ("GET", "/v1/alarms/{alarm}/snapshot"): Audited(
        _A.SNAPSHOT_VIEW, "alarm", path("alarm"), once=True
    ),
    ("GET", "/v1/snapshots/{key}"): Audited(_A.SNAPSHOT_VIEW, "picture", path("key"), once=True),
    ("GET", "/v1/alarms/{alarm}/clip"): Audited(_A.CLIP_LINK, "alarm", path("alarm"), once=True),
    ("GET", "/v1/recordings"): Audited(
        _A.RECORDING_LINK, "camera", query("camera"), ("from", "to"), once=True
    ),
    ("GET", "/media/{token}"): Audited(_A.MEDIA_READ, "file", noted, once=True),
    ("GET", "/v1/recordings/export"): Audited(
        _A.EXPORT_DOWNLOAD, "camera", query("camera"), ("from", "to"), once=True
    ),
    ("GET", "/v1/recordings/exports/{export}"): Audited(
        _A.EXPORT_MANIFEST, "export", path("export"), once=True
    ),
    ("POST", "/v1/search"): Audited(_A.SEARCH, "memory", nothing, _SEARCHED),
    # what is done about what was seen
    ("POST", "/v1/alarms/{alarm}/ack"): Audited(_A.ALARM_ACKNOWLEDGE, "alarm", path("alarm")),
    ("POST", "/v1/jobs"): Audited(_A.JOB_START, "job", location()),
    ("DELETE", "/v1/jobs/{job}"): Audited(_A.JOB_CANCEL, "job", path("job")),
    ("PUT", "/v1/policies/retention"): Audited(_A.POLICY_CHANGE, "policy", lambda _: "retention"),
    ("PUT", "/v1/policies/anonymisation"): Audited(
        _A.POLICY_CHANGE, "policy", lambda _: "anonymisation"
    ),
    ("POST", "/v1/reveals"): Audited(_A.REVEAL_BEGIN, "reveal", location()),
    ("DELETE", "/v1/reveals/{reveal}"): Audited(_A.REVEAL_END, "reveal", path("reveal")),
    ("POST", "/v1/holds"): Audited(_A.HOLD_ADD, "hold", location()),
    ("DELETE", "/v1/holds/{hold}"): Audited(_A.HOLD_REMOVE, "hold", path("hold")),
    ("POST", "/v1/erasures"): Audited(_A.ERASURE_START, "erasure", location()),
    ("GET", "/v1/audit"): Audited(
        _A.AUDIT_READ, "audit", nothing, ("actor", "action", "since", "until"), once=True
    ),
}

_PROBE = "for machines; shows nothing of a tenant"
_STATE = "names and states, which every open page polls; no picture"
_FACTS = "facts without a picture; opening the picture, clip or recording is logged"
_ERASED = "counts and hashes of what is gone, of which every request is logged; no picture"
_KEPT = "limits, holds and counts, of which every change is logged; no picture"

NOT_AUDITED: dict[tuple[str, str], str] = {
    ("GET", "/healthz"): _PROBE,
    ("GET", "/readyz"): _PROBE,
    ("GET", "/metrics"): _PROBE,
    ("GET", "/v1/quotas"): "numbers of the caller's own use; nothing of a camera",
    ("GET", "/v1/session"): "shows the caller its own name",
    ("POST", "/v1/auth/refresh"): "continues a session that is in the log; a used token that comes "
    "back is logged as session.reuse",
    ("GET", "/v1/auth/providers"): "names of buttons, for people who have not signed in",
    ("GET", "/v1/auth/oidc/{provider}/start"): "no user is known yet",
    ("GET", "/v1/auth/oidc/{provider}/callback"): "logged by the route as session.begin; refusals "
    "are counted",
    ("GET", "/v1/users"): "names and roles, for who manages users",
    ("GET", "/v1/users/{user}"): "names and roles, for who manages users",
    ("GET", "/v1/tenants"): "a list without a secret, for the platform only",
    ("GET", "/v1/tenants/{tenant}/quotas"): "numbers without a secret, for the platform only",
    ("GET", "/v1/keys"): "a list without a secret, for who manages keys",
    ("GET", "/v1/groups"): "names of cameras, for who manages groups",
    ("GET", "/v1/groups/{group}"): "names of cameras, for who manages groups",
    ("GET", "/v1/model"): "what the detector runs, for the platform only",
    ("GET", "/v1/cameras"): _STATE,
    ("GET", "/v1/cameras/{camera}"): _STATE,
    ("GET", "/v1/cameras/{camera}/rules"): _STATE,
    ("GET", "/v1/jobs"): _STATE,
    ("GET", "/v1/jobs/{job}"): _STATE,
    ("GET", "/v1/alarms"): _FACTS,
    ("GET", "/v1/alarms/stream"): _FACTS,
    ("GET", "/v1/alarms/{alarm}"): _FACTS,
    ("GET", "/v1/objects"): _FACTS,
    ("GET", "/v1/objects/{track}"): _FACTS,
    ("GET", "/v1/tracks/{track}"): _FACTS,
    ("GET", "/v1/analytics/counts"): _FACTS,
    ("GET", "/v1/analytics/heatmap"): _FACTS,
    ("GET", "/v1/coverage"): _STATE,
    ("GET", "/v1/policies/retention"): _KEPT,
    ("GET", "/v1/policies/anonymisation"): _KEPT,
    ("GET", "/v1/reveals"): "who was shown originals and why, of which each is logged; no picture",
    ("GET", "/v1/holds"): _KEPT,
    ("GET", "/v1/holds/{hold}"): _KEPT,
    ("GET", "/v1/compliance"): _KEPT,
    ("GET", "/v1/erasures"): _ERASED,
    ("GET", "/v1/erasures/{erasure}"): _ERASED,
    ("HEAD", "/media/{token}"): "size and type of a file, nothing of its content",
    ("POST", "/v1/detect"): "the caller's own picture, of which nothing is kept",
}
