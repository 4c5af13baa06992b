"""Rules, alerts and dashboards name metrics, labels and values that exist, and the ports that are
scraped are those that something listens on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.core.settings import load_settings
from cluster.inference.lanes import Lane
from pipelines.domain import CameraState, RecordingState
from pipelines.ledger import Cover
from pipelines.retention import RetentionKind, SpaceState
from pipelines.sampling import Skip
from serve.api.metrics import AUDIT_RESULTS, METHODS, Metrics
from tests.metrics_in_source import metrics_in_source
from tests.promql import Named, named_in

CONFIGS = Path(__file__).parents[3] / "configs"
HERE = CONFIGS / "observability"
RULES = yaml.safe_load((HERE / "rules.yml").read_text("utf-8"))
EVERY_RULE: list[dict[str, Any]] = [rule for group in RULES["groups"] for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in EVERY_RULE if "alert" in rule}
RECORDED = {rule["record"]: rule for rule in EVERY_RULE if "record" in rule}
DASHBOARDS = {
    path.stem: json.loads(path.read_text("utf-8")) for path in (HERE / "dashboards").glob("*.json")
}

# Of Ray 2.60 and of the Python client, seen on their exporters.
NODE = frozenset({"ip", "IsHeadNode", "RayNodeType", "SessionName", "Version", "job", "instance"})
RAYLET = frozenset({"NodeAddress", "Component", "SessionName", "Version", "job", "instance"})
FOREIGN = {
    "up": frozenset({"job", "instance"}),
    "process_resident_memory_bytes": frozenset({"replica", "job", "instance"}),
    "ray_node_cpu_utilization": NODE,
    "ray_node_disk_utilization_percentage": NODE,
    "ray_node_mem_total": NODE,
    "ray_node_mem_used": NODE,
    "ray_object_store_used_memory": RAYLET,
}
SERIES = dict(series for metric in metrics_in_source() for series in metric.series()) | FOREIGN

# By metric (a part of its name) and label: the words that the code gives it.
VALUES: dict[tuple[str, str], set[str]] = {
    ("ray_atalaia_cameras", "state"): {str(state) for state in CameraState},
    ("ray_atalaia_cameras_blind", "cause"): {str(cover) for cover in Cover},
    ("ray_atalaia_camera_seconds_total", "cover"): {str(cover) for cover in Cover},
    ("ray_atalaia_recordings", "state"): {str(state) for state in RecordingState},
    ("ray_atalaia_recording_lost_total", "what"): {"pictures", "sound", "files"},
    ("ray_atalaia_frames_skipped_total", "cause"): {str(skip) for skip in Skip},
    ("ray_atalaia_frames_unpublished_total", "cause"): {
        "room_away", "before_key_frame", "lost_by_sdk", "too_slow", "other_masks",
    },
    ("ray_atalaia_detector_stale_total", "lane"): {lane.name.lower() for lane in Lane},
    ("ray_atalaia_storage_state", "state"): {str(state) for state in SpaceState},
    ("ray_atalaia_retention_failures_total", "kind"): {str(kind) for kind in RetentionKind},
    ("atalaia_audit_events_total", "result"): set(AUDIT_RESULTS),
    ("atalaia_http_requests_total", "method"): set(METHODS) | {"other"},
    ("atalaia_http_requests_total", "status"): {str(status) for status in range(100, 600)},
    ("up", "job"): {"ray", "atalaia-api"},
    ("process_resident_memory_bytes", "job"): {"ray", "atalaia-api"},
}  # fmt: skip


def expressions() -> Iterator[tuple[str, str, str]]:
    """Where each stands, itself, and the text that is shown with what it finds."""
    for rule in EVERY_RULE:
        shown = " ".join(rule.get("annotations", {}).values())
        yield rule.get("alert") or rule["record"], rule["expr"], shown
    for name, dashboard in DASHBOARDS.items():
        for panel in dashboard["panels"]:
            for target in panel["targets"]:
                yield f"{name}: {panel['title']}", target["expr"], target["legendFormat"]


def labels_of(metric: str) -> frozenset[str]:
    """Raises KeyError: there is no such metric."""
    return named_in(RECORDED[metric]["expr"]).grouping if metric in RECORDED else SERIES[metric]


def wrong_in(expression: str) -> list[str]:
    """What an expression names that does not exist."""
    named = named_in(expression)
    wrong = [f"no metric {s.metric}" for s in named.selectors if s.metric not in KNOWN]
    if wrong:
        return wrong
    for selector in named.selectors:
        for label, (operator, value) in selector.matchers.items():
            if label not in labels_of(selector.metric):
                wrong.append(f"{selector.metric} has no label {label}")
            elif not _matched(VALUES[selector.metric, label], operator, value):
                wrong.append(f"{label} of {selector.metric} is never {value}")
    return wrong + _foreign_grouping(named)


KNOWN = SERIES.keys() | RECORDED.keys()


def _matched(values: set[str], operator: str, wanted: str) -> bool:
    """Whether each of the alternatives is, or matches, a value that there is."""
    parts = wanted.split("|") if operator in ("=~", "!~") else [re.escape(wanted)]
    return all(any(re.fullmatch(part, value) for value in values) for part in parts)


def _foreign_grouping(named: Named) -> list[str]:
    there = frozenset[str]().union(*(labels_of(s.metric) for s in named.selectors))
    return [f"nothing has the label {label}" for label in named.grouping - there]


@pytest.mark.parametrize(("place", "expression", "shown"), list(expressions()))
def test_what_is_named_exists(place: str, expression: str, shown: str) -> None:
    assert wrong_in(expression) == [], place
    used = set(re.findall(r"\{\{\s*\$labels\.(\w+)", shown)) | set(
        re.findall(r"\{\{(\w+)\}\}", shown)
    )
    named = named_in(expression)
    kept = named.grouping or frozenset[str]().union(*(labels_of(s.metric) for s in named.selectors))
    assert used <= kept, f"{place} shows labels that its result has not"


@pytest.mark.parametrize(
    ("expression", "wrong"),
    [
        ("sum(ray_atalaia_camera)", "no metric ray_atalaia_camera"),
        ("atalaia_cameras", "no metric atalaia_cameras"),
        ("rate(ray_atalaia_detector_frames[5m])", "no metric ray_atalaia_detector_frames"),
        ('ray_atalaia_cameras{camera="gate"}', "ray_atalaia_cameras has no label camera"),
        ('ray_atalaia_cameras{state="away"}', "state of ray_atalaia_cameras is never away"),
        (
            'ray_atalaia_cameras{state=~"live|gone"}',
            "state of ray_atalaia_cameras is never live|gone",
        ),
        ("sum by (tenant) (ray_atalaia_cameras)", "nothing has the label tenant"),
    ],
)
def test_what_does_not_exist_is_found(expression: str, wrong: str) -> None:
    assert wrong_in(expression) == [wrong]


def test_expressions_are_read() -> None:
    named = named_in(
        'sum by (a, le) (rate(x:y_bucket{a="1", b=~"2|\\"}"}[5m])) / on (c) z unless w offset 1h'
    )
    assert [(s.metric, dict(s.matchers)) for s in named.selectors] == [
        ("x:y_bucket", {"a": ("=", "1"), "b": ("=~", '2|\\"}')}),
        ("z", {}),
        ("w", {}),
    ]
    assert named.grouping == {"a", "le", "c"}
    for unknown in ("predict_linear(x[1h])", "x @ 5", "`x`"):
        with pytest.raises(ValueError, match=r"unknown|cannot"):
            named_in(unknown)


def test_the_names_are_those_of_the_apis_own_exporter() -> None:
    """What the source says of its metrics is what a scrape shows."""
    metrics = Metrics("one")
    metrics.requests.labels("GET", "/healthz", "200").inc()
    metrics.seconds.labels("GET", "/healthz").observe(1)
    samples = re.findall(r"^(atalaia_http_\w+)\{(.*)\} ", metrics.exposition().decode(), re.M)
    shown = {name: frozenset(re.findall(r'(\w+)="', labels)) for name, labels in samples}
    ours = {name: SERIES[name] - {"job", "instance"} for name in shown if "_created" not in name}
    assert len(ours) == 4
    assert ours == {name: labels for name, labels in shown.items() if name in ours}


@pytest.mark.parametrize("name", ALERTS)
def test_alerts_say_how_bad_it_is_and_what_to_do(name: str) -> None:
    alert = ALERTS[name]
    assert alert["labels"]["severity"] in ("page", "ticket")
    assert set(alert["annotations"]) == {"summary", "action"}
    assert all(alert["annotations"].values())


def test_names_occur_once_and_counters_are_only_read_as_rates() -> None:
    names = [rule.get("alert") or rule["record"] for rule in EVERY_RULE]
    assert len(set(names)) == len(names)
    for place, expression, _ in expressions():
        for selector in named_in(expression).selectors:
            counter = selector.metric.endswith(("_total", "_bucket", "_sum", "_count"))
            if counter and selector.metric not in FOREIGN:
                assert re.search(r"\b(rate|increase)\(" + selector.metric, expression), place


def test_tests_of_alerts_are_about_alerts_and_series_that_exist() -> None:
    tests = yaml.safe_load((HERE / "rules_test.yml").read_text("utf-8"))["tests"]
    tested = {case["alertname"] for test in tests for case in test.get("alert_rule_test", ())}
    assert tested <= ALERTS.keys()
    assert len(tested) >= 5
    for test in tests:
        for series in test["input_series"]:
            (selector,) = named_in(series["series"]).selectors
            assert selector.matchers.keys() <= labels_of(selector.metric), series


@pytest.mark.parametrize("name", DASHBOARDS)
def test_dashboards_are_whole(name: str) -> None:
    dashboard = DASHBOARDS[name]
    assert dashboard["uid"] == f"atalaia-{name}"
    (source,) = dashboard["templating"]["list"]
    assert (source["name"], source["query"]) == ("datasource", "prometheus")
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        at = panel["gridPos"]
        squares = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert at["x"] + at["w"] <= 24
        assert not squares & taken, panel["title"]
        taken |= squares


def test_alerts_name_dashboards_that_exist() -> None:
    titles = {dashboard["title"] for dashboard in DASHBOARDS.values()}
    named = set(re.findall(r'"(Atalaia: [^"]+)"', (HERE / "rules.yml").read_text("utf-8")))
    assert named
    assert named <= titles


# ------------------------------------------------------------ what is scraped

RAY_PORT = 8080


def _api_ports() -> set[int]:
    metrics = load_settings(CONFIGS / "production.yaml").api.metrics
    assert metrics.port is not None
    return set(range(metrics.port, metrics.port + metrics.ports))


def test_compose_scrapes_what_listens() -> None:
    jobs = {j["job_name"]: j for j in _prometheus("prometheus.yml")["scrape_configs"]}
    scraped = {
        job: {found["port"] for found in content["dns_sd_configs"]} for job, content in jobs.items()
    }
    assert scraped == {"ray": {RAY_PORT}, "atalaia-api": _api_ports()}
    services = yaml.safe_load((CONFIGS / "compose.yaml").read_text("utf-8"))["services"]
    nodes = {name for name, s in services.items() if s.get("command", [""])[:2] == ["ray", "start"]}
    for job in jobs.values():
        assert all(set(found["names"]) == nodes for found in job["dns_sd_configs"])
    for name in nodes:
        assert f"--metrics-export-port={RAY_PORT}" in services[name]["command"]
        assert not any(
            str(port) in published
            for published in services[name].get("ports", ())
            for port in (RAY_PORT, *_api_ports())
        )


def test_kubernetes_lets_prometheus_alone_read_them() -> None:
    service = yaml.safe_load((CONFIGS / "kuberay-rayservice.yaml").read_text("utf-8"))
    cluster = service["spec"]["rayClusterConfig"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        assert group["rayStartParams"]["metrics-export-port"] == str(RAY_PORT)
    documents = yaml.safe_load_all((CONFIGS / "kubernetes-base.yaml").read_text("utf-8"))
    (policy,) = (d for d in documents if d["metadata"]["name"] == "atalaia-cluster")
    open_to = {
        rule["from"][0]["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]: {
            port
            for each in rule["ports"]
            for port in range(each["port"], each.get("endPort", each["port"]) + 1)
        }
        for rule in policy["spec"]["ingress"]
        if "namespaceSelector" in rule["from"][0]
    }
    wanted = {RAY_PORT} | _api_ports()
    assert open_to["monitoring"] == wanted
    assert not any(ports & wanted for name, ports in open_to.items() if name != "monitoring")
    scraped = {
        int(relabel["replacement"].rpartition(":")[2])
        for job in _prometheus("prometheus-kubernetes.yml")["scrape_configs"]
        for relabel in job["relabel_configs"]
        if relabel["target_label"] == "__address__"
    }
    assert scraped <= wanted
    assert RAY_PORT in scraped


def _prometheus(name: str) -> Any:
    content = yaml.safe_load((HERE / name).read_text("utf-8"))
    assert content["rule_files"] == ["rules.yml"]
    return content


def test_production_closes_the_public_address_and_one_machine_stays_on_loopback() -> None:
    production = load_settings(CONFIGS / "production.yaml").api.metrics
    assert (production.host, production.public) == ("0.0.0.0", False)
    for name in ("demo", "local"):
        here = load_settings(CONFIGS / f"{name}.yaml").api.metrics
        assert (here.host, here.public) == ("127.0.0.1", True)
