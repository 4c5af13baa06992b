"""Secrets that can be recognised wherever they come out, and the search for them.

Every secret of the settings, and every one that the API takes in a body, is planted by some test:
which ones there are is read from the models, so that a new one fails until it is planted.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

from pydantic import BaseModel, SecretBytes, SecretStr

from cluster.core.settings import ENV_DELIMITER, ENV_PREFIX, Settings

_SECRET = (SecretStr, SecretBytes)


def secret_settings(model: type[BaseModel] = Settings, way: str = "") -> dict[str, bool]:
    """Dotted names of all settings that are secrets; whether each is a list of them."""
    found: dict[str, bool] = {}
    for name, described in model.model_fields.items():
        dotted = f"{way}{name}"
        kinds = list(_types_in(described.annotation))
        if any(kind in _SECRET for kind in kinds):
            found[dotted] = any(kind in (tuple, list) for kind in kinds)
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                found |= secret_settings(kind, f"{dotted}.")
    return found


def _types_in(annotation: Any) -> Iterator[Any]:
    yield getattr(annotation, "__origin__", annotation)
    for inner in getattr(annotation, "__args__", ()):
        yield from _types_in(inner)


def variable(setting: str) -> str:
    """The environment variable of a setting."""
    return ENV_PREFIX + setting.upper().replace(".", ENV_DELIMITER)


def secret_bodies(document: Mapping[str, Any]) -> set[str]:
    """`schema.field` of all that an OpenAPI document says is a secret."""
    return {
        f"{name}.{field}"
        for name, schema in document["components"]["schemas"].items()
        for field, described in schema.get("properties", {}).items()
        if _is_secret(described)
    }


def _is_secret(schema: Mapping[str, Any]) -> bool:
    inner = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
    inner += [schema[name] for name in ("items", "additionalProperties")
              if isinstance(schema.get(name), dict)]  # fmt: skip
    return schema.get("format") == "password" or any(_is_secret(one) for one in inner)


def planted(name: str, tail: str = "/+Z=") -> str:
    """A secret of at least 40 characters that says where it was put. `tail`: characters that are
    written in another way in an address, in JSON or in base64."""
    word = "".join(c for c in name if c.isalnum())
    # Names may begin in the same way; what is searched for must not.
    mark = sha256(name.encode()).hexdigest()[:10]
    return f"pq{mark}{word}".ljust(40, "q") + tail


HEAD = 16
"""Characters of a secret by which it is recognised, also where the rest was cut off. Every spelling
of the whole begins with that of these, so that they are all that is searched for."""


def spellings(secret: str) -> set[bytes]:
    """How a secret may be written: as it is, in an address, in JSON, in base64 at any place."""
    texts = {
        secret,
        quote(secret, safe=""),
        quote(secret),
        quote_plus(secret),
        quote(quote(secret, safe=""), safe=""),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        json.dumps(json.dumps(secret))[3:-3],
    }
    return {text.encode() for text in texts} | set(_base64(secret.encode()))


def _base64(secret: bytes) -> Iterator[bytes]:
    """The part that does not depend on what stands around the secret, for each of three places."""
    for before in range(3):
        whole = base64.b64encode(b"\0" * before + secret + b"\0\0")
        core = whole[-(-before * 8 // 6) : (before + len(secret)) * 8 // 6]
        yield core
        yield core.replace(b"+", b"-").replace(b"/", b"_")


def _shortest(spelled: set[bytes]) -> set[bytes]:
    """Without those that hold another one, which is found wherever they are: a third is left, and
    of the time that the search takes."""
    return {one for one in spelled if not any(other != one and other in one for other in spelled)}


class Search:
    """Looks for secrets. `secrets`: by the name under which one that is found is reported."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        heads = {name: secret[:HEAD] for name, secret in secrets.items()}
        assert len(set(heads.values())) == len(heads), "two secrets begin in the same way"
        self._spelled = {
            n: _shortest(spellings(secret) | spellings(heads[n])) for n, secret in secrets.items()
        }

    def found_in(self, raw: bytes) -> set[str]:
        """Names of the secrets that stand in `raw`."""
        return {
            name for name, spelled in self._spelled.items() if any(one in raw for one in spelled)
        }

    def found_in_files(self, roots: Iterable[Path]) -> dict[Path, set[str]]:
        """Names by file, of the files below folders, that hold any."""
        found = {}
        for path in {path for root in roots for path in root.rglob("*")}:
            if path.is_file() and not path.is_symlink() and (names := self._in_file(path)):
                found[path] = names
        return found

    def _in_file(self, path: Path) -> set[str]:
        try:
            return self.found_in(path.read_bytes())
        except FileNotFoundError:
            return set()  # a temporary file of a running server


def command_lines() -> dict[int, bytes]:
    """Of every process that this user can see, by its id."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            found[int(folder.name)] = (folder / "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it has ended, or is another user's
    return found
