"""The metrics that the product has, read from its source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cluster

SOURCES = Path(cluster.__file__).parent.parent
PACKAGES = ("cluster", "agents", "serve", "pipelines")
KINDS = frozenset({"Counter", "Gauge", "Histogram", "Summary", "Info", "Enum"})

# What Ray adds to whatever is counted through it (2.60, seen on its exporter), and Serve besides.
_OF_RAY = frozenset({"Component", "NodeAddress", "SessionName", "Version", "WorkerId"})
_OF_SERVE = frozenset({"deployment", "replica", "application"})
_OF_TARGETS = frozenset({"job", "instance"})


@dataclass(frozen=True)
class SourceMetric:
    """A metric as the source makes it.

    Attributes:
        place: file, from the root.
        exporter: the module whose class it is, such as `ray.util`.
    """

    name: str
    kind: str
    labels: frozenset[str]
    place: str
    exporter: str

    def series(self) -> Iterator[tuple[str, frozenset[str]]]:
        """Names and labels as Prometheus has them."""
        through_ray = self.exporter.startswith("ray")
        name = f"ray_{self.name}" if through_ray else self.name
        labels = self.labels | _OF_TARGETS
        labels |= _OF_RAY if through_ray else {"replica"}
        labels |= _OF_SERVE if self.exporter == "ray.serve" else frozenset()
        match self.kind:
            case "Counter":
                yield f"{name}_total", labels
            case "Histogram":
                yield from ((f"{name}_{part}", labels) for part in ("sum", "count"))
                yield f"{name}_bucket", labels | {"le"}
            case _:
                yield name, labels


def metrics_in_source() -> list[SourceMetric]:
    """Every metric whose name begins with `atalaia`."""
    return [
        metric
        for package in PACKAGES
        for path in sorted((SOURCES / package).rglob("*.py"))
        for metric in metrics_of(path.read_text("utf-8"), str(path.relative_to(SOURCES)))
    ]


def metrics_of(source: str, place: str = "") -> Iterator[SourceMetric]:
    """Those of one module."""
    module = ast.parse(source)
    exporter = _exporter(module)
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and _called(node) in KINDS and node.args:
            name = node.args[0]
            if isinstance(name, ast.Constant) and str(name.value).startswith("atalaia"):
                labels = frozenset(_labels(node, module))
                yield SourceMetric(str(name.value), _called(node), labels, place, exporter)


def _exporter(module: ast.Module) -> str:
    for node in ast.walk(module):
        if isinstance(node, ast.ImportFrom) and node.module in ("ray.util", "ray.serve"):
            if any(alias.name == "metrics" for alias in node.names):
                return node.module
    return "prometheus_client"


def _called(node: ast.Call) -> str:
    function = node.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _labels(node: ast.Call, module: ast.Module) -> set[str]:
    given = [k.value for k in node.keywords if k.arg in ("tag_keys", "labelnames")]
    given += [argument for argument in node.args[2:3] if isinstance(argument, ast.Tuple)]
    named = {
        target.id: statement.value
        for statement in ast.walk(module)
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Tuple)
        for target in statement.targets
        if isinstance(target, ast.Name)
    }
    found: set[str] = set()
    for labels in given:
        value = named[labels.id] if isinstance(labels, ast.Name) else labels
        found |= {ast.unparse(one).strip("'") for one in getattr(value, "elts", [value])}
    return found
