"""Atalaia's errors. Each has a message, a hint what to do, and whether a retry can help.

AtalaiaError
├── InputError            the caller sent something that cannot be used
│   ├── NotFoundError       it names something that this tenant does not have
│   └── ConflictError       it collides with something that exists
│       └── QuotaReachedError  the tenant has as many of these as it may
├── ConfigError           a setting is wrong
├── CameraError           a camera cannot be read
├── ModelError            a model file cannot be used
├── StoreRefusedError     a store refuses us: a wrong key, or a request that it cannot accept
├── SecretUnreadableError a secret in the records cannot be decrypted
├── WorkRefusedError      a call inside the cluster does not prove whose work it is
└── UnavailableError      a dependency is temporarily unavailable (retryable)
    ├── StaleFrameError     a frame waited so long for the detector that it is not worth analysing
    └── TenantMovingError   the tenant is on its way to another cluster (`pipelines.moving`)
"""

from __future__ import annotations

from typing import ClassVar


class AtalaiaError(Exception):
    """Base of every error that Atalaia raises on purpose.

    Attributes:
        code: stable identifier for programs, kebab-case.
        retryable: whether the same call may succeed later, unchanged.
        hint: what the reader can do next; never contains a credential.
    """

    code: ClassVar[str] = "error"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        # Ray pickles errors across processes; keyword-only arguments need this.
        return (_rebuild, (type(self), self.message, self.hint))

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


def _rebuild(kind: type[AtalaiaError], message: str, hint: str) -> AtalaiaError:
    return kind(message, hint=hint)


class InputError(AtalaiaError):
    code = "invalid-input"


class NotFoundError(InputError):
    code = "not-found"


class ConflictError(InputError):
    code = "conflict"


class QuotaReachedError(ConflictError):
    """The tenant has as many things of a kind as it may; `quota` names the limit."""

    code = "quota-exceeded"

    def __init__(self, message: str, *, hint: str = "", quota: str) -> None:
        super().__init__(message, hint=hint)
        self.quota = quota

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild_reached, (self.message, self.hint, self.quota))


def _rebuild_reached(message: str, hint: str, quota: str) -> QuotaReachedError:
    return QuotaReachedError(message, hint=hint, quota=quota)


class ConfigError(AtalaiaError):
    code = "invalid-config"


class CameraError(AtalaiaError):
    code = "camera-unreadable"
    retryable = True


class ModelError(AtalaiaError):
    code = "invalid-model"


class StoreRefusedError(AtalaiaError):
    """A store refuses us, and will until somebody changes a setting, the store or this program."""

    code = "store-refused"


class SecretUnreadableError(AtalaiaError):
    code = "secret-unreadable"


class WorkRefusedError(AtalaiaError):
    code = "work-refused"


class UnavailableError(AtalaiaError):
    code = "unavailable"
    retryable = True


class StaleFrameError(UnavailableError):
    code = "stale-frame"
