"""Where a request can name a thing: every parameter and every text in a body, from the OpenAPI
document, and what kind of id belongs there.

A parameter that no table knows fails the suite: see `undeclared`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """A kind of id. `leak_world.plant` gives each tenant at least one of each."""

    ACTOR = "actor"
    ALARM = "alarm"
    CAMERA = "camera"
    CURSOR = "cursor"
    EMAIL = "email"
    ERASURE = "erasure"
    ETAG = "etag"
    EVENT = "event"
    EXPORT = "export"
    GROUP = "group"
    HOLD = "hold"
    JOB = "job"
    KEY = "key"
    LINK = "link"
    PICTURE = "picture"
    REVEAL = "reveal"
    RULE = "rule"
    TENANT = "tenant"
    TRACK = "track"
    USER = "user"


SLOTS: dict[str, Kind] = {
    # by name, wherever it stands: in an address, a query, a header, a body
    "actor": Kind.ACTOR,
    "alarm": Kind.ALARM,
    "alarms": Kind.ALARM,
    "camera": Kind.CAMERA,
    "cameras": Kind.CAMERA,
    "cursor": Kind.CURSOR,
    "confirm": Kind.TENANT,
    "email": Kind.EMAIL,
    "erasure": Kind.ERASURE,
    "export": Kind.EXPORT,
    "group": Kind.GROUP,
    "groups": Kind.GROUP,
    "hold": Kind.HOLD,
    "if-none-match": Kind.ETAG,
    "if-range": Kind.ETAG,
    "job": Kind.JOB,
    "key": Kind.KEY,
    "last-event-id": Kind.EVENT,
    "like": Kind.TRACK,
    "like_camera": Kind.CAMERA,
    "object": Kind.TRACK,
    "reveal": Kind.REVEAL,
    "rule": Kind.RULE,
    "tenant": Kind.TENANT,
    "token": Kind.LINK,
    "track": Kind.TRACK,
    "tracks": Kind.TRACK,
    "user": Kind.USER,
    "users": Kind.USER,
    # where the same name is something else: method, address, name
    "GET /v1/snapshots/{key} key": Kind.PICTURE,
    "POST /v1/cameras id": Kind.CAMERA,
    "POST /v1/cameras/{camera}/rules id": Kind.RULE,
    "POST /v1/groups id": Kind.GROUP,
    "POST /v1/tenants id": Kind.TENANT,
}

PLAIN: dict[str, str] = {
    "atalaia_device": "a signed token of a browser, in test_user_tokens.py",
    "atalaia_refresh": "a credential of its own, in test_api_sign_in.py",
    "class": "a word of the model",
    "classes": "words of the model",
    "colour": "a word of a fixed list",
    "current": "a secret of its sender",
    "grid": "two numbers",
    "label": "a name for people",
    "model": "weights that the platform allows",
    "name": "a name for people",
    "new": "a secret of its sender",
    "password": "a secret of its sender",
    "provider": "a name in the operator's settings, which sign-in pages show",
    "range": "bytes",
    "reason": "a remark of people",
    "refresh_token": "a credential of its own, in test_api_sign_in.py",
    "substream_url": "an address outside",
    "text": "words that are searched",
    "timezone": "a name of the IANA",
    "tz": "a name of the IANA",
    "start": "a time of the day",
    "end": "a time of the day",
    "url": "an address outside",
    "weights": "a file of the platform's",
}
"""Texts that name nothing of a tenant, and what they are."""

WAYS = ("path", "query", "header", "cookie", "body")
JSON, FORM = "application/json", "multipart/form-data"
# Lengths to which texts in bodies are followed; ours nest four deep.
_DEPTH = 12


@dataclass(frozen=True)
class Place:
    """One place for a text in a request.

    Attributes:
        where: of `WAYS`.
        name: of the parameter; in a body the keys on the way to it, joined by dots, with `*` for an
            element of a list and `{}` for a key of a mapping.
        required: the request is not valid without it.
    """

    where: str
    name: str
    required: bool = False

    @property
    def short(self) -> str:
        """The last name on the way to it."""
        return [part for part in self.name.split(".") if part not in ("*", "{}")][-1]


@dataclass(frozen=True)
class Operation:
    """One operation of the document, with schemas resolved one level at a time by `resolve`."""

    method: str
    path: str
    schema: dict[str, Any]
    document: dict[str, Any]

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def permission(self) -> str | None:
        """What it needs; None: it is open."""
        found: str | None = self.schema.get("x-permission")
        return found

    @property
    def parameters(self) -> list[dict[str, Any]]:
        return list(self.schema.get("parameters", ()))

    @property
    def body(self) -> dict[str, Any]:
        """Schema of the JSON body; empty: there is none."""
        content = self.schema.get("requestBody", {}).get("content", {})
        return dict(content.get(JSON, {}).get("schema", {}))

    @property
    def form(self) -> dict[str, Any]:
        """Schema of the form in its body; empty: there is none."""
        content = self.schema.get("requestBody", {}).get("content", {})
        return self.resolve(content.get(FORM, {}).get("schema", {}))

    def resolve(self, schema: dict[str, Any]) -> dict[str, Any]:
        """A schema with its reference followed."""
        while "$ref" in schema:
            schema = self.document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        return schema

    def places(self) -> list[Place]:
        """Every place for a text that the schema does not bind to a fixed set of values."""
        found = [
            Place(p["in"], p["name"], p.get("required", False))
            for p in self.parameters
            if self._is_text(p["schema"])
        ]
        names = dict.fromkeys(self._texts(self.body, ()))
        return found + [Place("body", ".".join(path)) for path in names]

    def kind(self, place: Place) -> Kind | None:
        """What kind of id belongs into a place; None: it is declared as plain.

        Raises:
            KeyError: no table has it.
        """
        for name in (f"{self.name} {place.name}", place.short.lower()):
            if name in SLOTS:
                return SLOTS[name]
        PLAIN[place.short.lower()]
        return None

    def _is_text(self, schema: dict[str, Any]) -> bool:
        return any(True for _ in self._texts(schema, ("it",)))

    def _texts(self, schema: dict[str, Any], way: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        schema = self.resolve(schema)
        if len(way) > _DEPTH or "enum" in schema or "const" in schema:
            return
        for choice in ("anyOf", "oneOf", "allOf"):
            for one in schema.get(choice, ()):
                yield from self._texts(one, way)
        if schema.get("type") == "string" and schema.get("format") not in ("date-time", "binary"):
            yield way
        if isinstance(schema.get("items"), dict):
            yield from self._texts(schema["items"], (*way, "*"))
        for name, member in schema.get("properties", {}).items():
            yield from self._texts(member, (*way, name))
        yield from self._keys(schema, way)

    def _keys(self, schema: dict[str, Any], way: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        """Of a mapping: its keys, unless they are of a fixed set, and the texts in its values."""
        values = schema.get("additionalProperties")
        patterns = schema.get("patternProperties", {})
        if isinstance(values, dict) or patterns:
            if not self._fixed(schema.get("propertyNames", {})):
                yield (*way, "{}")
            for value in (*patterns.values(), *([values] if isinstance(values, dict) else ())):
                yield from self._texts(value, (*way, "{}"))

    def _fixed(self, names: dict[str, Any]) -> bool:
        return "enum" in self.resolve(names)


def operations(document: dict[str, Any]) -> list[Operation]:
    """Every operation of an OpenAPI document."""
    return [
        Operation(method.upper(), path, schema, document)
        for path, item in sorted(document["paths"].items())
        for method, schema in sorted(item.items())
    ]


def undeclared(found: list[Operation]) -> list[str]:
    """What no table knows, each with what to do about it."""
    missing = []
    for operation in found:
        for place in operation.places():
            try:
                operation.kind(place)
            except KeyError:
                missing.append(
                    f"{operation.name}: {place.where} `{place.name}` is in no table of "
                    "tests/integration/api/leak_ids.py. If it names a thing of a tenant, add "
                    f"`{place.short.lower()}` to SLOTS (a new kind of thing: also to Kind, and let "
                    "`plant` in leak_world.py make one for each tenant); if it names none, add it "
                    "to PLAIN with what it is."
                )
    return missing
