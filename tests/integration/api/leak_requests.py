"""Requests for a thing of somebody else, made from the OpenAPI document: for each operation, each
place in which it takes an id, filled with each id of the other tenant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx

from tests.integration.api.in_process import BASE
from tests.integration.api.leak_ids import Kind, Operation, Place
from tests.integration.api.test_api_search import RED, picture

Ids = Mapping[Kind, Sequence[str]]
"""Of one tenant, or of nobody: at least one of each kind."""

# The time of everything that `leak_world.plant` makes (factories.T0_US).
STRETCH = ("2023-11-14T22:00:00Z", "2023-11-14T23:00:00Z")
_BEGINNINGS = ("since", "from")

BESIDE: dict[str, dict[str, Any]] = {
    "POST /v1/cameras/{camera}/rules": {"polygon": [[0, 0], [1, 0], [1, 1]]},
    "POST /v1/holds camera": {"from": STRETCH[0], "to": STRETCH[1], "reason": "why"},
}
"""What must stand in the body of an operation, or beside one of its fields, where the schema does
not say so."""


@dataclass(frozen=True)
class Draft:
    """A request but for its credential.

    Attributes:
        sent: the ids in it that are not the sender's own.
    """

    operation: Operation
    path: str
    query: dict[str, Any]
    headers: dict[str, str]
    body: dict[str, Any]
    sent: tuple[str, ...]

    def request(self, credential: Mapping[str, str]) -> httpx.Request:
        return httpx.Request(
            self.operation.method,
            f"{BASE}{self.path}",
            params=self.query,
            headers={"Host": "127.0.0.1", **self.headers, **credential},
            **self.body,
        )

    def __str__(self) -> str:
        texts = [self.operation.method, self.path, *(f"{k}={v}" for k, v in self.query.items())]
        return " ".join([*texts, *(f"{k}: {v}" for k, v in self.headers.items()), str(self.body)])


@dataclass(frozen=True)
class Case:
    """The same request for a thing of somebody else, and for one that nobody has."""

    theirs: Draft
    nobodys: Draft


def cases(operation: Operation, own: Ids, theirs: Ids, nobodys: Ids) -> list[Case]:
    """Every request for `operation` that names something of `theirs`."""
    made = []
    for foreign, index in _choices(operation, theirs):
        drafts = [_filled(operation, foreign, index, ids, own) for ids in (theirs, nobodys)]
        made.append(Case(*drafts))
    return made


def widest(operation: Operation, own: Ids) -> Draft:
    """Asks for as much as there is, at the time of everything, and names nothing foreign."""
    query = {
        p["name"]: _most(operation, p)
        for p in operation.parameters
        if p["in"] == "query" and _most(operation, p) is not None
    }
    draft = _filled(operation, (), 0, own, own)
    return Draft(operation, draft.path, query | draft.query, draft.headers, draft.body, ())


def _choices(operation: Operation, theirs: Ids) -> Iterator[tuple[tuple[Place, ...], int]]:
    """Which places hold a foreign id, and which of the ids of its kind."""
    places = [place for place in operation.places() if operation.kind(place) is not None]
    needed = [place for place in places if _is_needed(operation, place)]
    further = [place for place in places if place not in needed]
    if needed:
        yield tuple(needed), 0
    for place in [*(needed if len(needed) > 1 else ()), *further]:
        yield from (((place,), index) for index in range(_count(operation, place, theirs)))
    if len(needed) == 1:
        yield from (
            ((needed[0],), index) for index in range(1, _count(operation, needed[0], theirs))
        )
    together = [place for place in further if place.where != "body"]
    if len(needed) + len(together) > 1:
        yield (*needed, *together), 0


def _count(operation: Operation, place: Place, theirs: Ids) -> int:
    kind = operation.kind(place)
    assert kind is not None
    return len(theirs[kind])


def _is_needed(operation: Operation, place: Place) -> bool:
    if place.where != "body":
        return place.required
    schema = operation.body
    for part in place.name.split("."):
        schema = _chosen(operation, schema, place.name)
        if part not in schema.get("required", ()):
            return False
        schema = schema["properties"][part]
    return True


def _filled(
    operation: Operation, foreign: Sequence[Place], index: int, ids: Ids, own: Ids
) -> Draft:
    """The request with the ids of `ids` in the foreign places, and own ones where it needs more."""
    put: dict[Place, str] = {}
    for place in operation.places():
        kind = operation.kind(place)
        if kind is not None and place in foreign:
            put[place] = ids[kind][min(index, len(ids[kind]) - 1)]
        elif kind is not None and _is_needed(operation, place):
            put[place] = own[kind][0]
    path = operation.path
    for place, value in put.items():
        if place.where == "path":
            safe = "/" if operation.kind(place) is Kind.PICTURE else ""
            path = path.replace(f"{{{place.name}}}", quote(value, safe=safe))
    query = _needed_query(operation) | _of(put, "query")
    body = _of(put, "body")
    return Draft(
        operation,
        path,
        query,
        {name: str(value) for name, value in _of(put, "header").items()},
        _Body(operation, body).content(),
        tuple(put[place] for place in foreign),
    )


def _of(put: Mapping[Place, str], where: str) -> dict[str, Any]:
    return {place.name: value for place, value in put.items() if place.where == where}


def _needed_query(operation: Operation) -> dict[str, Any]:
    return {
        p["name"]: _most(operation, p) or "x"
        for p in operation.parameters
        if p["in"] == "query" and p.get("required")
    }


def _most(operation: Operation, parameter: dict[str, Any]) -> Any:
    """The value of a parameter with which most is asked for; None: it only narrows."""
    schema = operation.resolve(parameter["schema"])
    for one in schema.get("anyOf", (schema,)):
        if one.get("format") == "date-time":
            return STRETCH[0 if parameter["name"] in _BEGINNINGS else 1]
        if one.get("type") == "boolean":
            return "true"
        if one.get("type") == "integer":
            return one.get("maximum", 100)
    return None


def _chosen(operation: Operation, schema: dict[str, Any], wanted: str) -> dict[str, Any]:
    """Of several schemas the one that has the place `wanted`, else the first that is not null."""
    schema = operation.resolve(schema)
    for choice in ("oneOf", "anyOf", "allOf"):
        if choice in schema:
            several = [operation.resolve(one) for one in schema[choice]]
            several = [one for one in several if one.get("type") != "null"]
            first = wanted.split(".")[0]
            fitting = [one for one in several if first in one.get("properties", {})]
            return _chosen(operation, (fitting or several)[0], wanted)
    return schema


@dataclass
class _Body:
    """A body that its schema accepts, with `put` in its places."""

    operation: Operation
    put: dict[str, Any]
    _beside: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self._beside = dict(BESIDE.get(self.operation.name, {}))
        for name in self.put:
            self._beside |= BESIDE.get(f"{self.operation.name} {name}", {})

    def content(self) -> dict[str, Any]:
        """Arguments of `httpx.Request`."""
        if self.operation.form and not self.put:
            return {"files": {"image": ("a.png", picture(RED), "image/png")}}
        if not self.operation.body:
            return {}
        made = self._sample(self.operation.body, ())
        return {"json": made | self._beside if isinstance(made, dict) else made}

    def _sample(self, schema: dict[str, Any], way: tuple[str, ...]) -> Any:
        name = ".".join(way)
        if name in self.put:
            return self.put[name]
        below = any(known.startswith(f"{name}.") or not way for known in self.put)
        schema = _chosen(self.operation, schema, next(iter(self.put), ""))
        known = schema.get("examples") or [
            schema[key] for key in ("const", "default") if schema.get(key) is not None
        ]
        if way and known and not below:
            return known[0]
        match schema.get("type"):
            case "object":
                return self._mapping(schema, way)
            case "array":
                items = schema.get("prefixItems") or [schema.get("items", {})] * max(
                    schema.get("minItems", 0), int(below)
                )
                return [self._sample(item, (*way, "*")) for item in items]
            case _:
                return _scalar(schema)

    def _mapping(self, schema: dict[str, Any], way: tuple[str, ...]) -> dict[str, Any]:
        wanted = {
            known.split(".")[len(way)]
            for known in self.put
            if known.split(".")[: len(way)] == list(way)
        }
        properties = schema.get("properties", {})
        made = {
            name: self._sample(member, (*way, name))
            for name, member in properties.items()
            if name in wanted or name in schema.get("required", ())
        }
        if "{}" in wanted:
            values = schema.get("additionalProperties")
            patterns = list(schema.get("patternProperties", {}).values())
            value = values if isinstance(values, dict) else (patterns or [{}])[0]
            key = self.put.get(".".join((*way, "{}")), "x")
            made[str(key)] = self._sample(value, (*way, "{}", "value"))
        return made


def _scalar(schema: dict[str, Any]) -> Any:
    if schema.get("enum"):
        return schema["enum"][0]
    if schema.get("type") in ("integer", "number"):
        return schema.get("minimum", schema.get("exclusiveMinimum", 0) + 1)
    if schema.get("type") == "boolean":
        return False
    if schema.get("format") == "date-time":
        return STRETCH[0]
    if schema.get("format") == "uuid":
        return "00000000-0000-4000-8000-00000000abcd"
    return "a" * max(1, schema.get("minLength", 1))
