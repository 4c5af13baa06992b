"""Why a camera cannot be read, in terms that help its owner. Converts foreign errors to ours.

Gateways and libav report the same problem in many ways ("connection refused", errno 111, `wrong
user/pass`); `problem_of` maps each to one `CameraProblem`.
"""

from __future__ import annotations

import errno
import re
from enum import StrEnum

import av.error

from cluster.core.redaction import redact
from pipelines.errors import CameraError


class CameraProblem(StrEnum):
    """What keeps a camera from being read."""

    REFUSED = "refused"
    TIMEOUT = "timeout"
    CREDENTIALS = "credentials"
    SIGN_IN = "sign-in"
    SILENT = "silent"
    NOT_FOUND = "not-found"
    DNS = "dns"
    UNREACHABLE = "unreachable"
    TLS = "tls"
    UNSUPPORTED = "unsupported"
    LOST = "lost"
    NO_VIDEO = "no-video"
    NOT_ALLOWED = "not-allowed"
    LED_AWAY = "led-away"
    UNKNOWN = "unknown"

    @property
    def transient(self) -> bool:
        """Whether it may resolve itself. Retrying wrong credentials locks some cameras."""
        return self not in _LASTING

    @property
    def reason(self) -> str:
        return _TEXTS[self][0]

    @property
    def hint(self) -> str:
        return _TEXTS[self][1]


_LASTING = frozenset(
    {
        CameraProblem.CREDENTIALS,
        CameraProblem.UNSUPPORTED,
        CameraProblem.NO_VIDEO,
        CameraProblem.NOT_ALLOWED,
        CameraProblem.SIGN_IN,
        CameraProblem.LED_AWAY,
    }
)

_ALLOW = (
    "For a camera on this machine, as an example: "
    """ATALAIA_GATEWAY__ALLOW='["private", "public", "127.0.0.1:18554"]'."""
)
_TEXTS: dict[CameraProblem, tuple[str, str]] = {
    CameraProblem.REFUSED: (
        "The camera refuses the connection.",
        "Check the port, and that RTSP is switched on in the camera.",
    ),
    CameraProblem.TIMEOUT: (
        "The camera does not answer in time.",
        "Check its address, its power, and the network and firewall in between.",
    ),
    CameraProblem.CREDENTIALS: (
        "The camera refuses the user name or password.",
        "Check both in the camera. So that it does not lock, it is asked again only after minutes, "
        "and at once when the user name or password is changed here.",
    ),
    CameraProblem.SIGN_IN: (
        "The camera asks for a way of signing in that is not supported.",
        "Set its RTSP authentication to Digest (MD5 or SHA-256) or Basic.",
    ),
    CameraProblem.SILENT: (
        "The camera accepts the connection, but sends no pictures.",
        "Restart it, and check that this stream is switched on and how many viewers it allows.",
    ),
    CameraProblem.NOT_FOUND: (
        "The camera answers, but gives no stream at this path.",
        "Check the part of the URL behind the host.",
    ),
    CameraProblem.DNS: (
        "The camera's host name is not known.",
        "Check its spelling, or use the IP address.",
    ),
    CameraProblem.UNREACHABLE: (
        "There is no route to the camera's network.",
        "Check the address, and the gateway machine's network.",
    ),
    CameraProblem.TLS: (
        "The encrypted connection to the camera fails.",
        "Check its certificate and that the port is the encrypted one; or use rtsp:// or http://.",
    ),
    CameraProblem.UNSUPPORTED: (
        "The camera sends something that cannot be read as video.",
        "Set it to H.264 (or H.265, MJPEG), and check scheme and path of the URL.",
    ),
    CameraProblem.LOST: (
        "The camera closes the connection.",
        "It may be restarting, or allow no more viewers.",
    ),
    CameraProblem.NO_VIDEO: (
        "The camera's stream holds no video.",
        "Choose another stream of the camera.",
    ),
    CameraProblem.NOT_ALLOWED: (
        "Cameras may not have this address.",
        "Use the camera's own address. Whoever runs Atalaia decides which networks cameras may "
        f"have: gateway.allow and gateway.deny. {_ALLOW}",
    ),
    CameraProblem.LED_AWAY: (
        "The camera redirects to an address that cameras may not have.",
        "Enter the address that the stream really has, or let whoever runs Atalaia permit it: "
        f"gateway.allow and gateway.deny. {_ALLOW}",
    ),
    CameraProblem.UNKNOWN: (
        "The camera cannot be read.",
        "Try the same URL in a video player on the gateway machine.",
    ),
}


class UnreadableCameraError(CameraError):
    """A CameraError with its CameraProblem.

    Attributes:
        problem: for programs; `message` and `hint` are for people.
        detail: the message of the gateway or library, without credentials; may be empty.
    """

    def __init__(self, problem: CameraProblem, detail: str = "") -> None:
        super().__init__(problem.reason, hint=problem.hint)
        self.problem = problem
        self.detail = redact(detail)

    def __reduce__(self) -> tuple[object, ...]:
        return (UnreadableCameraError, (self.problem, self.detail))


# First match wins: a message about credentials or the path outranks how the connection ended.
_PATTERNS: tuple[tuple[CameraProblem, str], ...] = (
    (
        CameraProblem.CREDENTIALS,
        r"wrong user/pass|user/pass not provided|unsupported (auth|qop)"
        r"|\b401\b|\b403 forbidden|unauthorized|access denied",
    ),
    (CameraProblem.NOT_FOUND, r"\b404\b|wrong response on|not found on server|NetStream\.Play"),
    (CameraProblem.DNS, r"no such host|server misbehaving|name or service not known|lookup "),
    (CameraProblem.REFUSED, r"connection refused"),
    (CameraProblem.UNREACHABLE, r"no route to host|(network|host) is (unreachable|down)"),
    (CameraProblem.TLS, r"\btls:|x509:|certificate|HTTPS client"),
    (CameraProblem.TIMEOUT, r"i/o timeout|deadline exceeded|timed out|timeout|immediate exit"),
    (
        CameraProblem.UNSUPPORTED,
        r"codecs not matched|unsupported|invalid data|malformed|wrong input|sdp:|unknown codec"
        r"|protocol not found|wrong (content|transport)",
    ),
    (CameraProblem.LOST, r"\bEOF\b|connection reset|broken pipe|end of file|closed"),
)
_COMPILED = tuple((problem, re.compile(text, re.IGNORECASE)) for problem, text in _PATTERNS)

_BY_ERRNO = {
    errno.ECONNREFUSED: CameraProblem.REFUSED,
    errno.ETIMEDOUT: CameraProblem.TIMEOUT,
    errno.EHOSTUNREACH: CameraProblem.UNREACHABLE,
    errno.ENETUNREACH: CameraProblem.UNREACHABLE,
    errno.EHOSTDOWN: CameraProblem.UNREACHABLE,
    errno.ECONNRESET: CameraProblem.LOST,
    errno.EPIPE: CameraProblem.LOST,
}

_BY_TYPE: tuple[tuple[type[Exception], CameraProblem], ...] = (
    (av.error.HTTPUnauthorizedError, CameraProblem.CREDENTIALS),
    (av.error.HTTPForbiddenError, CameraProblem.CREDENTIALS),
    (av.error.HTTPNotFoundError, CameraProblem.NOT_FOUND),
    (av.error.ExitError, CameraProblem.TIMEOUT),
    (av.error.TimeoutError, CameraProblem.TIMEOUT),
    (av.error.EOFError, CameraProblem.LOST),
    (av.error.InvalidDataError, CameraProblem.UNSUPPORTED),
    (av.error.DecoderNotFoundError, CameraProblem.UNSUPPORTED),
    (av.error.DemuxerNotFoundError, CameraProblem.UNSUPPORTED),
    (av.error.ProtocolNotFoundError, CameraProblem.UNSUPPORTED),
)


def problem_of(text: str) -> CameraProblem:
    """The problem that a gateway's error message describes."""
    return next(
        (problem for problem, pattern in _COMPILED if pattern.search(text)), CameraProblem.UNKNOWN
    )


def problem_of_av(error: av.error.FFmpegError) -> CameraProblem:
    """The problem that a libav error describes."""
    for kind, problem in _BY_TYPE:
        if isinstance(error, kind):
            return problem
    return _BY_ERRNO.get(error.errno or 0) or problem_of(str(error))


def problem_of_errno(error: OSError) -> CameraProblem:
    """The problem behind a failed connection."""
    return _BY_ERRNO.get(error.errno or 0, CameraProblem.UNREACHABLE)


def unreadable(cause: str | av.error.FFmpegError) -> UnreadableCameraError:
    """The error to raise for a gateway's error message or a libav error."""
    problem = problem_of(cause) if isinstance(cause, str) else problem_of_av(cause)
    return UnreadableCameraError(problem, str(cause))
