"""Who may do what: the one table of roles and permissions. The documentation's table is made of it
(`serve.api.permission_table`)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Literal


class Role(StrEnum):
    """What a user or a key may do. `platform` is that of keys without a tenant, and of nothing
    else; the others are a tenant's."""

    ADMIN = "admin"
    OPERATOR = "operator"
    ANALYST = "analyst"
    VIEWER = "viewer"
    PLATFORM = "platform"


TenantRole = Literal[Role.ADMIN, Role.OPERATOR, Role.ANALYST, Role.VIEWER]
"""The roles that can be given to a user or a key of a tenant."""


class Permission(StrEnum):
    """What one route needs. The value is its name in errors and documents."""

    SESSION_READ = "session.read"
    PASSWORD_CHANGE = "password.change"
    QUOTA_READ = "quota.read"
    CAMERA_READ = "camera.read"
    LIVE_WATCH = "live.watch"
    LIVE_UNMASKED = "live.unmasked"
    RULE_READ = "rule.read"
    ALARM_READ = "alarm.read"
    CLIP_READ = "clip.read"
    ALARM_ACKNOWLEDGE = "alarm.acknowledge"
    OBJECT_SEARCH = "object.search"
    IMAGE_DETECT = "image.detect"
    ANALYTICS_READ = "analytics.read"
    RECORDING_EXPORT = "recording.export"
    JOB_RUN = "job.run"
    CAMERA_MANAGE = "camera.manage"
    RULE_MANAGE = "rule.manage"
    USER_MANAGE = "user.manage"
    KEY_MANAGE = "key.manage"
    GROUP_MANAGE = "group.manage"
    AUDIT_READ = "audit.read"
    PRIVACY_MANAGE = "privacy.manage"
    ERASURE_READ = "erasure.read"
    ERASURE_MANAGE = "erasure.manage"
    EVIDENCE_REVEAL = "evidence.reveal"
    TENANT_MANAGE = "tenant.manage"
    MODEL_MANAGE = "model.manage"


_P = Permission

_VIEWER = frozenset(
    {
        _P.SESSION_READ,
        _P.PASSWORD_CHANGE,
        _P.QUOTA_READ,
        _P.CAMERA_READ,
        _P.LIVE_WATCH,
        _P.RULE_READ,
        _P.ALARM_READ,
        _P.CLIP_READ,
    }
)
_OPERATOR = _VIEWER | {_P.ALARM_ACKNOWLEDGE, _P.OBJECT_SEARCH, _P.IMAGE_DETECT}
# Whatever will control a camera live (as pan and tilt would) is an operator's and not an analyst's.
_ANALYST = _OPERATOR | {_P.ANALYTICS_READ, _P.RECORDING_EXPORT, _P.JOB_RUN}
_ADMIN = frozenset(Permission) - {_P.TENANT_MANAGE, _P.MODEL_MANAGE}
# Nothing that shows a picture, an alarm or a camera of a tenant.
_PLATFORM = frozenset(
    {
        _P.SESSION_READ,
        _P.TENANT_MANAGE,
        _P.MODEL_MANAGE,
        _P.KEY_MANAGE,
        _P.AUDIT_READ,
        _P.ERASURE_READ,
    }
)

GRANTS: Mapping[Role, frozenset[Permission]] = {
    Role.VIEWER: _VIEWER,
    Role.OPERATOR: _OPERATOR,
    Role.ANALYST: _ANALYST,
    Role.ADMIN: _ADMIN,
    Role.PLATFORM: _PLATFORM,
}
"""Roles in the order in which the table shows them."""

LIMITABLE: frozenset[Permission] = _ANALYST
"""All that a user or key may do which is limited to camera groups: nothing that grants something,
or that is about the tenant as a whole. So what is limited can never give more than it has."""


def grants(role: Role, permission: Permission) -> bool:
    """Whether a role has a permission."""
    return permission in GRANTS[role]


def roles_with(permission: Permission) -> tuple[Role, ...]:
    """The roles that have a permission, weakest first."""
    return tuple(role for role, granted in GRANTS.items() if permission in granted)
