"""Which metrics and labels a PromQL expression names. No parser: it knows what our files use, and
refuses the rest."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""\s*(?:
    (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    |(?P<number>\d+(?:\.\d+)?(?:ms|[smhdwy])?)
    |(?P<name>[A-Za-z_:][A-Za-z0-9_:]*)
    |(?P<sign>=~|!~|!=|==|>=|<=|[-+*/%^=<>(){}\[\],])
    )""",
    re.VERBOSE,
)
FUNCTIONS = frozenset({
    "absent", "avg", "count", "histogram_quantile", "increase", "max", "min", "rate", "sum", "topk",
})  # fmt: skip
GROUPING = frozenset({"by", "without", "on", "ignoring"})
WORDS = frozenset({"and", "or", "unless", "offset", "bool"})


@dataclass(frozen=True)
class Selector:
    """A metric of an expression.

    Attributes:
        matchers: by label, operator and value.
    """

    metric: str
    matchers: Mapping[str, tuple[str, str]]


@dataclass(frozen=True)
class Named:
    """What an expression names.

    Attributes:
        grouping: labels of `by`, `without`, `on` and `ignoring`.
    """

    selectors: tuple[Selector, ...]
    grouping: frozenset[str]


def named_in(expression: str) -> Named:
    """Raises ValueError: it has something that this reader does not know."""
    tokens = list(_tokens(expression))
    selectors: list[Selector] = []
    grouping: set[str] = set()
    at = 0
    while at < len(tokens):
        kind, token = tokens[at]
        following = tokens[at + 1][1] if at + 1 < len(tokens) else ""
        at += 1
        if kind != "name" or token in WORDS:
            continue
        if token in GROUPING:
            end = tokens.index(("sign", ")"), at)
            grouping |= {text for each, text in tokens[at:end] if each == "name"}
            at = end
        elif following == "(" or (token in FUNCTIONS and following in GROUPING):
            if token not in FUNCTIONS:
                raise ValueError(f"unknown function {token} in {expression!r}")
        else:
            end = tokens.index(("sign", "}"), at) if following == "{" else at
            selectors.append(Selector(token, dict(_matchers(tokens[at + 1 : end]))))
            at = end
    return Named(tuple(selectors), frozenset(grouping))


def _tokens(expression: str) -> Iterator[tuple[str, str]]:
    at, expression = 0, expression.strip()
    while at < len(expression):
        match = _TOKEN.match(expression, at)
        if match is None:
            raise ValueError(f"cannot read {expression[at:]!r}")
        assert match.lastgroup is not None
        yield match.lastgroup, match[match.lastgroup]
        at = match.end()


def _matchers(tokens: list[tuple[str, str]]) -> Iterator[tuple[str, tuple[str, str]]]:
    for at in range(0, len(tokens), 4):
        (_, label), (_, operator), (kind, value) = tokens[at : at + 3]
        if kind != "text":
            raise ValueError(f"the matcher of {label} has no text")
        yield label, (operator, value[1:-1])
