"""Every key that Atalaia has in Redis. No other module makes one.

| Key                                 | Type   | Holds                                   |
| ----------------------------------- | ------ | --------------------------------------- |
| `atalaia:{<tenant>}:alarms`         | stream | alarms on their way to the records      |
| `atalaia:{<tenant>}:alarms:id:<id>` | string | the alarm was published; for seven days |
| `atalaia:{<tenant>}:alarms:settled` | string | up to where alarms are known to be kept |
| `atalaia:{<tenant>}:tracks`         | stream | objects and paths, likewise             |
| `<stream>:dead`                     | stream | its entries that can never be recorded  |
| `atalaia:{<tenant>}:cameras`        | hash   | camera → its status                     |
| `atalaia:{<tenant>}:rate:<of>`      | hash   | units used of a rate, by slice of time  |
| `atalaia:model`                     | string | the weights chosen at run time          |
| `atalaia:controller`                | hash   | which controller commands, until when   |

The braces keep all keys of a tenant in one slot of a Redis cluster: scripts and transactions may
touch several of them at once.
"""

from __future__ import annotations

from enum import StrEnum
from uuid import UUID

from cluster.core.tenancy import require_tenant

MODEL_KEY = "atalaia:model"
LEASE_KEY = "atalaia:controller"


class KeyPattern(StrEnum):
    """The keys of one kind, of all tenants, as Redis' access lists name them. No slug has a brace
    or a colon, so that no key is of two kinds."""

    ALARMS = "atalaia:{*}:alarms"
    ALARM_MARKERS = "atalaia:{*}:alarms:id:*"
    ALARMS_SETTLED = "atalaia:{*}:alarms:settled"
    TRACKS = "atalaia:{*}:tracks"
    DEAD_LETTERS = "atalaia:{*}:*:dead"
    CAMERAS = "atalaia:{*}:cameras"
    RATES = "atalaia:{*}:rate:*"
    MODEL = MODEL_KEY
    LEASE = LEASE_KEY


def alarms_key(tenant: str) -> str:
    """Raises InputError where `tenant` is no slug."""
    return _tenant_key(tenant, "alarms")


def alarm_marker_key(tenant: str, alarm: UUID) -> str:
    """Raises InputError where `tenant` is no slug."""
    return f"{alarms_key(tenant)}:id:{alarm}"


def settled_key(tenant: str) -> str:
    """Raises InputError where `tenant` is no slug."""
    return f"{alarms_key(tenant)}:settled"


def tracks_key(tenant: str) -> str:
    """Raises InputError where `tenant` is no slug."""
    return _tenant_key(tenant, "tracks")


def cameras_key(tenant: str) -> str:
    """Raises InputError where `tenant` is no slug."""
    return _tenant_key(tenant, "cameras")


def rate_key(tenant: str | None, of: str) -> str:
    """Where the window `of` is counted; None: the platform's. Raises InputError where `tenant` is
    no slug."""
    # No slug has a dot, so this is no tenant's.
    return (
        f"atalaia:{{.platform}}:rate:{of}" if tenant is None else _tenant_key(tenant, f"rate:{of}")
    )


def dead_key(stream: str) -> str:
    """Where the dead letters of `stream` go, a key of `alarms_key` or `tracks_key`."""
    return f"{stream}:dead"


def tenant_keys_pattern(tenant: str) -> str:
    """Matches every key of the tenant. Raises InputError where `tenant` is no slug."""
    return _tenant_key(tenant, "*")


def _tenant_key(tenant: str, what: str) -> str:
    require_tenant(tenant)
    return f"atalaia:{{{tenant}}}:{what}"
