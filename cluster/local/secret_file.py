"""A file of secrets: one VARIABLE=value per line, as compose's `.env` and docker's `--env-file`.

Pure: text in, text out. No error quotes a value.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from pipelines.errors import ConfigError, InputError

MAX_BYTES = 1_000_000
"""Ours have some 2,000."""
SECRET_BYTES = 32
"""As 43 characters; HMAC-SHA256 and LiveKit want 32."""
MAX_FORMER = 4
"""Secrets of earlier times in a ring; who rotates more often has finished none of the changes."""

_LINE = re.compile(r"(?P<name>[A-Z_][A-Z0-9_]*)=(?P<value>.*)")
_SECRET = re.compile(
    r"(SECRET|PASSWORD|TOKEN|(ENCRYPTION|QDRANT_+API|ACCESS)_KEY|(AUTH__|WORK_)KEYS)$"
)
_MAP = re.compile(r"REDIS__PASSWORDS$")
_URL = re.compile(r"(REDIS|DATABASE)__([A-Z]+_)?URL$")
# Made by others: they cannot be made up here.
_FOREIGN = re.compile(r"^AWS_|AUTH__PROVIDERS")
# Names, not secrets; any will do, as long as both ends have the same.
_NAMES = frozenset({
    "LIVEKIT_API_KEY", "ATALAIA_LIVEKIT__API_KEY", "GATEWAY_USERNAME", "ATALAIA_GATEWAY__USERNAME",
})  # fmt: skip
_OWN_NAME = "atalaia"


@dataclass(frozen=True, slots=True)
class Ring:
    """Where the former values of a secret are kept while something may still need them.

    Attributes:
        former: the variable of the list; the same as the secret's: the list has all, newest first.
        then: what to do before the former ones may go.
    """

    former: str
    then: str


_RESTART = "Restart every process of Atalaia"
RINGS: Mapping[str, Ring] = {
    "DATABASE_ENCRYPTION_KEY": Ring(
        "DATABASE_DECRYPTION_KEYS", f"{_RESTART}, then run `atalaia database re-encrypt`."
    ),
    "ATALAIA_DATABASE__ENCRYPTION_KEY": Ring(
        "ATALAIA_DATABASE__DECRYPTION_KEYS", f"{_RESTART}, then run `atalaia database re-encrypt`."
    ),
    "ATALAIA_AUDIT__SECRET": Ring(
        "ATALAIA_AUDIT__FORMER_SECRETS",
        f"{_RESTART}. Keep the former secrets for as long as anchors and receipts of their time "
        "are to be checked.",
    ),
    "ATALAIA_AUTH__KEYS": Ring(
        "ATALAIA_AUTH__KEYS", f"{_RESTART}. After auth.session_ttl_s nobody needs the former ones."
    ),
    "ATALAIA_RAY__WORK_KEYS": Ring(
        "ATALAIA_RAY__WORK_KEYS", f"{_RESTART}. Once all have restarted, nobody needs the former."
    ),
}


@dataclass(frozen=True, slots=True)
class SecretFile:
    """The lines of such a file. Its text form shows no value."""

    lines: tuple[str, ...] = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> SecretFile:
        """Raises ConfigError: a line is none of a comment, an assignment or empty, or a variable
        occurs twice."""
        seen = set()
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip() or line.startswith("#"):
                continue
            match = _LINE.fullmatch(line)
            if match is None:
                raise ConfigError(
                    f"line {number} is not VARIABLE=value.",
                    hint="Variables are in capitals, without `export` and without blanks.",
                )
            if match["name"] in seen:
                raise ConfigError(
                    f"{match['name']} occurs again in line {number}.",
                    hint="Remove one: programs do not agree which of them counts.",
                )
            seen.add(match["name"])
        return cls(tuple(text.splitlines()))

    @property
    def values(self) -> dict[str, str]:
        """By variable, without quotation marks around them."""
        found = {}
        for line in self.lines:
            if (match := _LINE.fullmatch(line)) is not None:
                value = match["value"].strip()
                quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
                found[match["name"]] = value[1:-1] if quoted else value
        return found

    def having(self, changed: Mapping[str, str]) -> SecretFile:
        """With these values: in their lines, or in new ones at the end.

        Raises:
            InputError: a value would not be read as it is: it begins or ends with a blank, is in
                quotation marks, or has more than one line.
        """
        left = {name: _line(name, value) for name, value in changed.items()}
        lines = []
        for line in self.lines:
            match = _LINE.fullmatch(line)
            name = match["name"] if match is not None else ""
            lines.append(left.pop(name, line))
        return SecretFile((*lines, *left.values()))

    def text(self) -> str:
        """As it stands in the file."""
        return "\n".join((*self.lines, ""))


def _line(name: str, value: str) -> str:
    line = f"{name}={value}"
    if SecretFile((line,)).values != {name: value}:
        raise InputError(
            f"the value of {name} cannot stand in a file of secrets.",
            hint="Use one without line breaks, and without blanks or quotation marks around it.",
        )
    return line


def new_secret() -> str:
    """Of letters, digits, "-" and "_", so that it can stand in a URL."""
    return secrets.token_urlsafe(SECRET_BYTES)


def filled(file: SecretFile, template: SecretFile) -> tuple[SecretFile, list[str], list[str]]:
    """`file` with every variable of `template`, and a secret in each that has none. What has a
    value keeps it.

    Returns:
        the file, the variables that were given a value, and those that only you can give one.
    """
    values = file.values
    missing = [name for name in {**template.values, **values} if not values.get(name)]
    made = {name: made for name in missing if (made := _made_up(name))}
    empty = {name: "" for name in missing if name not in made and name not in values}
    return file.having(made | empty), sorted(made), sorted(set(missing) - made.keys())


def _made_up(name: str) -> str:
    if name in _NAMES:
        return _OWN_NAME
    if not _SECRET.search(name) or _FOREIGN.search(name):
        return ""
    ring = RINGS.get(name)
    return json.dumps([new_secret()]) if ring is not None and ring.former == name else new_secret()


def rotated(file: SecretFile, name: str, *, overlap: bool = True) -> SecretFile:
    """With a new secret as `name`; the one before stays in its ring.

    Args:
        overlap: False: a secret without a ring may be replaced, too.

    Raises:
        InputError: the file has no such secret; it has no ring; its ring is full.
        ConfigError: its ring is no JSON list.
    """
    values = file.values
    if name not in values or name in _NAMES or not _SECRET.search(name) or _FOREIGN.search(name):
        raise InputError(
            f"{name} is no secret of this file that can be made here.",
            hint="Those with a ring: " + ", ".join(sorted(RINGS.keys() & values.keys())),
        )
    ring = RINGS.get(name)
    if ring is None:
        if overlap:
            raise InputError(
                f"{name} has no ring: the former one ends at once, at both ends.",
                hint="With --no-overlap it is replaced: give the new one to the server, too, and "
                "restart everything that uses it.",
            )
        return file.having({name: new_secret()})
    return file.having(_turned(values, name, ring))


def _turned(values: Mapping[str, str], name: str, ring: Ring) -> dict[str, str]:
    former = _listed(values, ring.former)
    if ring.former != name and values[name]:
        former = [values[name], *former]
    if len(former) > MAX_FORMER:
        raise InputError(
            f"{ring.former} would have {len(former)} secrets of earlier times.",
            hint=f"{ring.then} Then `--finish` removes them.",
        )
    if ring.former == name:
        return {name: json.dumps([new_secret(), *former])}
    return {name: new_secret(), ring.former: json.dumps(former)}


def finished(file: SecretFile, name: str) -> SecretFile:
    """Without the former values of a secret.

    Raises:
        InputError: it has no ring.
        ConfigError: its ring is no JSON list.
    """
    ring = RINGS.get(name)
    if ring is None or name not in file.values:
        raise InputError(f"{name} has no ring in this file.", hint="There is nothing to finish.")
    listed = _listed(file.values, ring.former)
    kept = listed[:1] if ring.former == name else []
    return file.having({ring.former: json.dumps(kept)})


def _listed(values: Mapping[str, str], name: str) -> list[str]:
    try:
        found = json.loads(values.get(name) or "[]")
    except ValueError:
        found = None
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise ConfigError(f"{name} is no JSON list of texts.", hint='Write ["…"], or leave it out.')
    return found


def secrets_in(values: Mapping[str, str]) -> dict[str, str]:
    """Every secret by where it is; of addresses the password. What is no JSON where a list belongs
    counts as one secret: files may be wrong.
    """
    found: dict[str, str] = {}
    for name, value in values.items():
        if name not in _NAMES:
            found |= dict(_secrets_of(name, value))
    return {where: secret for where, secret in found.items() if secret}


_LISTS = frozenset(ring.former for ring in RINGS.values())


def _secrets_of(name: str, value: str) -> Iterator[tuple[str, str]]:
    if _URL.search(name):
        try:
            yield name, unquote(urlsplit(value).password or "")
        except ValueError:
            yield name, value
    elif name in _LISTS or _MAP.search(name):
        yield from _items(name, value)
    elif _SECRET.search(name):
        yield name, value


def _items(name: str, value: str) -> Iterator[tuple[str, str]]:
    try:
        content = json.loads(value or "[]")
    except ValueError:
        content = value
    pairs = (
        content.items()
        if isinstance(content, dict)
        else enumerate(content if isinstance(content, list) else [content])
    )
    for key, item in pairs:
        yield f"{name}.{key}", str(item)
