"""Parses camera URLs as people type them and makes them safe for a media gateway.

People paste passwords with arbitrary characters into URLs, raw or percent-encoded, and gateways
parse the result in different ways. `parse_camera_url` decides once what was meant, and
`CameraUrl.encoded` writes it so that every parser agrees.

Rules for URLs that a raw password makes ambiguous:

1. The credentials end at an `@` that is followed by a host, an optional port, and then `/`, `?`,
   `#` or the end. So `admin:p@ss@10.0.0.5/s` has the password `p@ss`.
2. `/`, `?` and `#` may occur in a raw password (`admin:a/b@10.0.0.5/s`). Of several readings, the
   first wins whose host is an IP address, `localhost` or contains a dot; else the first one. A
   later `@` counts only if there is a `:` before the first `/`, `?` or `#`: an `@` in the path or
   query of a URL without credentials stays where it is.
3. The user name ends at the first `:`; everything after it is the password.
4. User name and password are, independently, percent-encoded if every `%` begins an escape (`%40`);
   otherwise every `%` is a plain character. To write a literal `%40`, use `%2540`.

Percent-encode user name and password to avoid any ambiguity.

Only schemes that open a network connection are accepted. A gateway such as go2rtc would *execute*
`exec:`, `echo:` or `ffmpeg:` sources, and expand `${NAME}` from its environment.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes

from cluster.core.redaction import HIDDEN, redact_parameters
from pipelines.errors import InputError

DEFAULT_PORTS = {"rtsp": 554, "rtsps": 322, "rtmp": 1935, "rtmps": 443, "http": 80, "https": 443}
"""Allowed schemes and their default ports."""

MAX_URL_LENGTH = 4096
"""Characters; sealed, such a URL takes 5.5 KB of a request."""
# Characters of a host quoted in an error; an IPv6 address with its zone has 55.
MAX_QUOTED = 80

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_HOST_PORT = re.compile(
    r"(?P<host>\[[0-9A-Fa-f:.]+(?:%(?:25)?[\w.-]+)?\]|[\w](?:[\w.-]*[\w.])?)"
    r"(?::(?P<port>\d{1,5}))?(?=[/?#]|$)"
)
_FIRST_DELIMITER = re.compile(r"[/?#]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
_LONE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
# Everything RFC 3986 allows in a path or query. Braces and `#` are not allowed, which keeps
# go2rtc's `{input}`, `${NAME}` and `#option` syntax out of a source.
_TARGET_SAFE = "/?:@!$&'()*+,;=-._~%"
_GATEWAY_OPTION = re.compile(
    r"#(?:backchannel|media|timeout|transport|video|audio|input|raw|rotate|width|height|hardware"
    r"|header|query)(?:=|#|$)"
)


@dataclass(frozen=True, slots=True)
class CameraUrl:
    """A camera's URL, parsed and decoded.

    Attributes:
        scheme: one of DEFAULT_PORTS.
        username: decoded, with surrogates for bytes that are not UTF-8; empty if there is none.
        password: decoded; None if there is none.
        host: name or IP address; IPv6 without brackets.
        port: None for the scheme's default.
        target: path and query, percent-encoded; empty, or beginning with `/` or `?`.
    """

    scheme: str
    username: str
    password: str | None
    host: str
    port: int | None
    target: str

    @property
    def effective_port(self) -> int:
        return self.port or DEFAULT_PORTS[self.scheme]

    @property
    def encoded(self) -> str:
        """The URL, percent-encoded where necessary. Contains the password."""
        return f"{self.scheme}://{self._userinfo}{self.authority}{self.target}"

    @property
    def authority(self) -> str:
        """Host, in brackets for IPv6, and port if one was given. No credentials."""
        return self._authority(self.port)

    def with_port(self) -> str:
        """Like `encoded`, always with a port: go2rtc mishandles an IPv6 host without one."""
        return (
            f"{self.scheme}://{self._userinfo}{self._authority(self.effective_port)}{self.target}"
        )

    @property
    def public(self) -> str:
        """The URL with every credential replaced, before the host and in path and query."""
        hidden = f"{HIDDEN}@" if self._userinfo else ""
        target = redact_parameters(self.target)
        if not hidden and not _plausible_host(self.host):
            # `admin:12/34@cam` was parsed as host, port and path, but may contain a password.
            target = re.sub(r"^.*@", f"/{HIDDEN}@", target)
        return f"{self.scheme}://{hidden}{self.authority}{target}"

    @property
    def _userinfo(self) -> str:
        if not self.username and self.password is None:
            return ""
        password = "" if self.password is None else f":{_quote(self.password)}"
        return f"{_quote(self.username)}{password}@"

    def _authority(self, port: int | None) -> str:
        host = f"[{self.host.replace('%', '%25')}]" if ":" in self.host else self.host
        return host if port is None else f"{host}:{port}"

    def __repr__(self) -> str:
        return f"CameraUrl({self.public!r})"


def normalize_camera_url(raw: str) -> str:
    """The canonical form of a URL that a user typed, by the module's rules.

    Idempotent. The result contains the password.

    Raises:
        InputError: not a camera URL; the message never contains the password.
    """
    return parse_camera_url(raw).encoded


def public_url(raw: str) -> str:
    """`raw` for display and logs, with credentials replaced by `***`.

    Never raises: of text that is not a camera URL, at most the scheme is shown.
    """
    try:
        return parse_camera_url(raw).public
    except InputError:
        scheme = _SCHEME.match(raw.strip())
        known = scheme is not None and scheme[1].lower() in DEFAULT_PORTS
        return f"{scheme[1].lower()}://{HIDDEN}" if scheme and known else HIDDEN


def parse_camera_url(raw: str) -> CameraUrl:
    """Parse a camera's URL by the module's rules.

    Raises:
        InputError: not a camera URL; the message never contains the password.
    """
    text = raw.strip()
    if len(text) > MAX_URL_LENGTH:
        raise InputError(f"The camera URL is longer than {MAX_URL_LENGTH} characters.")
    if _CONTROL.search(text):
        raise InputError(
            "The camera URL holds a line break or another control character.",
            hint="Paste it again as one line.",
        )
    scheme, rest = _split_scheme(text)
    reading = _choose_reading(rest)
    if reading is None:
        raise InputError(
            "The camera URL has no host that can be understood.",
            hint="Write rtsp://user:password@host:554/path; put IPv6 addresses in [brackets].",
        )
    username, password = _split_userinfo(reading.userinfo)
    if _CONTROL.search(username + (password or "")):
        raise InputError(
            "The user name or password holds an escaped line break or another control character.",
            hint="Write %25 for a plain percent sign.",
        )
    url = CameraUrl(
        scheme=scheme,
        username=username,
        password=password,
        host=_checked_host(reading.host),
        port=_checked_port(reading.port),
        target=_encoded_target(reading.target),
    )
    if len(url.encoded) > MAX_URL_LENGTH:
        # Sealed for the relay it is in this form, and read by this function again.
        raise InputError(
            f"The camera URL is longer than {MAX_URL_LENGTH} characters once it is "
            "percent-encoded.",
            hint="Characters other than letters, digits and -._~ take three for each of their "
            "bytes: use a shorter password or path.",
        )
    return url


class _Reading(NamedTuple):
    userinfo: str | None
    host: str
    port: str | None
    target: str


def _plausible_host(host: str) -> bool:
    """Whether it looks like a host rather than a user name or part of a password."""
    return ":" in host or "." in host or host.lower() == "localhost"


def _split_scheme(text: str) -> tuple[str, str]:
    found = _SCHEME.match(text)
    scheme = found[1].lower() if found else ""
    allowed = ", ".join(f"{name}://" for name in DEFAULT_PORTS)
    if not found or not text[found.end() :].startswith("//"):
        raise InputError(
            "The camera URL does not begin with a scheme and `//`.",
            hint=f"Write rtsp://host/path. Known: {allowed}.",
        )
    if scheme not in DEFAULT_PORTS:
        raise InputError(f"Cameras cannot be read by {scheme}://.", hint=f"Known: {allowed}.")
    return scheme, text[found.end() + 2 :]


def _choose_reading(rest: str) -> _Reading | None:
    """Rules 1 and 2 of the module."""
    delimiter = _FIRST_DELIMITER.search(rest)
    first = delimiter.start() if delimiter else len(rest)
    colon_before = ":" in rest[:first]
    readings: list[_Reading] = []
    at = -1
    while True:
        if at < first or colon_before:
            found = _HOST_PORT.match(rest, at + 1)
            if found:
                userinfo = rest[:at] if at >= 0 else None
                readings.append(
                    _Reading(userinfo, found["host"], found["port"], rest[found.end() :])
                )
        at = rest.find("@", at + 1)
        if at < 0:
            break
    plausible = [reading for reading in readings if _plausible_host(reading.host)]
    return next(iter(plausible or readings), None)


def _split_userinfo(userinfo: str | None) -> tuple[str, str | None]:
    if userinfo is None:
        return "", None
    username, colon, password = userinfo.partition(":")
    return _decoded(username), _decoded(password) if colon else None


def _decoded(field: str) -> str:
    """Rule 4 of the module."""
    if _LONE_PERCENT.search(field) or not _ESCAPE.search(field):
        return field
    return unquote_to_bytes(field).decode("utf-8", errors="surrogateescape")


def _quote(text: str) -> str:
    return quote(text, safe="", errors="surrogateescape")


def _checked_host(host: str) -> str:
    if host.startswith("["):
        address = host[1:-1].replace("%25", "%")
        try:
            return str(ipaddress.IPv6Address(address))
        except ipaddress.AddressValueError as error:
            raise InputError(f"{address[:MAX_QUOTED]} is not an IPv6 address.") from error
    if host.isascii():
        return host.lower()
    try:
        return host.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise InputError("The camera URL's host name cannot be a name in the DNS.") from error


def _checked_port(port: str | None) -> int | None:
    if port is None:
        return None
    if not 1 <= int(port) <= 65_535:
        raise InputError(f"{port} is not a port: use 1 to 65535.")
    return int(port)


def _encoded_target(target: str) -> str:
    if _GATEWAY_OPTION.search(target):
        raise InputError(
            "The camera URL ends with options for a gateway (`#name=value`).",
            hint="Leave out the `#` and what follows; Atalaia sets these options itself.",
        )
    return quote(_LONE_PERCENT.sub("%25", target), safe=_TARGET_SAFE)
