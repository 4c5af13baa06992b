"""Ray's own readers accept the cluster files; the RayService has the fields that we lean on."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.core.settings import load_settings

# Ray's own models, as of 2.60, use what pydantic calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.PydanticDeprecatedSince20")

CONFIGS = Path(__file__).parents[3] / "configs"
FILES = ("kubernetes-base", "kubernetes-migrate", "kuberay-rayservice")
DOCUMENTS: list[Any] = [
    document
    for name in FILES
    for document in yaml.safe_load_all((CONFIGS / f"{name}.yaml").read_text(encoding="utf-8"))
]


def of_kind(kind: str) -> dict[str, Any]:
    """Documents of a kind by their names."""
    return {d["metadata"]["name"]: d for d in DOCUMENTS if d["kind"] == kind}


(SERVICE,) = of_kind("RayService").values()
(MIGRATE,) = of_kind("Job").values()
VARIABLES: dict[str, str] = of_kind("ConfigMap")["atalaia-config"]["data"]
CLUSTER = SERVICE["spec"]["rayClusterConfig"]
GROUPS = [CLUSTER["headGroupSpec"], *CLUSTER["workerGroupSpecs"]]

# Hand-kept from the CRD ray.io/v1 of KubeRay 1.5.1, against which the whole file was validated.
SERVICE_FIELDS = {
    "deploymentUnhealthySecondThreshold", "serviceUnhealthySecondThreshold", "serveConfigV2",
    "rayClusterConfig", "upgradeStrategy", "serveService", "excludeHeadPodFromServeSvc",
}  # fmt: skip
CLUSTER_FIELDS = {
    "rayVersion", "authOptions", "gcsFaultToleranceOptions", "headGroupSpec", "workerGroupSpecs",
    "enableInTreeAutoscaling", "autoscalerOptions",
}  # fmt: skip
HEAD_FIELDS = {"rayStartParams", "template", "serviceType", "headService", "enableIngress"}
WORKER_FIELDS = {
    "groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template",
    "numOfHosts", "idleTimeoutSeconds",
}  # fmt: skip


def test_ray_accepts_the_cluster_file() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    content = yaml.safe_load((CONFIGS / "ray-cluster.yaml").read_text(encoding="utf-8"))
    validate_config(prepare_config(content))


def test_serve_accepts_the_application() -> None:
    from ray.serve.schema import ServeDeploySchema

    schema = ServeDeploySchema.model_validate(yaml.safe_load(SERVICE["spec"]["serveConfigV2"]))
    assert [(a.name, a.route_prefix, a.import_path) for a in schema.applications] == [
        ("atalaia", "/", "serve.app:build")
    ]


def test_only_known_fields() -> None:
    assert SERVICE["apiVersion"] == "ray.io/v1"
    assert set(SERVICE["spec"]) <= SERVICE_FIELDS
    assert set(CLUSTER) <= CLUSTER_FIELDS
    assert set(CLUSTER["headGroupSpec"]) <= HEAD_FIELDS
    for group in CLUSTER["workerGroupSpecs"]:
        assert set(group) <= WORKER_FIELDS
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


def test_the_cluster_runs_the_ray_that_is_locked() -> None:
    lock = (CONFIGS.parent / "requirements.lock").read_text(encoding="utf-8")
    assert f"\nray=={CLUSTER['rayVersion']} \\\n" in lock


def test_strangers_and_lost_heads_are_provided_for() -> None:
    assert CLUSTER["authOptions"] == {"mode": "token"}
    reference = CLUSTER["gcsFaultToleranceOptions"]["redisPassword"]["valueFrom"]["secretKeyRef"]
    # Every key of the environment's secret becomes a variable, and this is no name of one.
    assert reference == {"name": "atalaia-ray", "key": "redis-password"}


PODS = [*(g["template"] for g in GROUPS), MIGRATE["spec"]["template"]]


@pytest.mark.parametrize("pod", PODS)
def test_pods_run_as_nobody_special(pod: dict[str, Any]) -> None:
    """As the profile `restricted` of the pod security standards wants it, and more."""
    security = pod["spec"]["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] == 10001
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["spec"]["automountServiceAccountToken"] is False
    account = of_kind("ServiceAccount")[pod["spec"]["serviceAccountName"]]
    assert account["automountServiceAccountToken"] is False
    assert account["imagePullSecrets"]
    for container in pod["spec"]["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["image"].endswith(":0.1.0")
        sources = [next(iter(source)) for source in container["envFrom"]]
        assert sources == ["configMapRef", "secretRef"]
        assert not container.get("env"), "secrets come from the Secret"


@pytest.mark.parametrize("pod", PODS)
def test_services_put_no_variables_into_pods(pod: dict[str, Any]) -> None:
    """`ATALAIA_SERVE_SVC_…` would be an unknown setting."""
    assert pod["spec"]["enableServiceLinks"] is False


@pytest.mark.parametrize("group", GROUPS)
def test_a_drain_has_the_time_that_it_takes(group: dict[str, Any]) -> None:
    assert group["template"]["spec"]["terminationGracePeriodSeconds"] == 90


def test_no_threshold_that_kuberay_ignores_and_a_strategy_that_is_said() -> None:
    spec = SERVICE["spec"]
    assert not {"deploymentUnhealthySecondThreshold", "serviceUnhealthySecondThreshold"} & set(spec)
    assert spec["upgradeStrategy"] == {"type": "NewCluster"}


def test_only_workers_have_what_our_actors_ask_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """An actor that reserves no CPU lands on a head without any."""
    for name, value in VARIABLES.items():
        if name.startswith("ATALAIA_"):
            monkeypatch.setenv(name, value)
    (wanted,) = load_settings(CONFIGS / "production.yaml").ray.worker_resources
    head, worker = (group["rayStartParams"] for group in GROUPS)
    assert head["num-cpus"] == "0"
    assert "resources" not in head
    # KubeRay puts it into a shell command, which takes the outer quotes off.
    assert json.loads(*shlex.split(worker["resources"])) == {wanted: 1000}


@pytest.mark.parametrize("pod", PODS)
def test_what_pods_write_is_bounded(pod: dict[str, Any]) -> None:
    (container,) = pod["spec"]["containers"]
    limits = {v["name"]: _gib(v["emptyDir"]["sizeLimit"]) for v in pod["spec"]["volumes"]}
    assert {m["name"]: m["mountPath"] for m in container["volumeMounts"]} == {
        "data": "/var/lib/atalaia",
        "tmp": "/tmp",
    }
    assert sum(limits.values()) < _gib(container["resources"]["limits"]["ephemeral-storage"])
    if container["name"] == "ray-worker":
        spool = load_settings(CONFIGS / "production.yaml").recording.spool_mb / 1024
        assert limits["data"] >= spool * 1.5, "recordings, and besides them alarms and models"


def _gib(size: str) -> float:
    number, unit = size[:-2], size[-2:]
    return float(number) / {"Gi": 1, "Mi": 1024}[unit]


def test_a_busy_worker_stays_ready() -> None:
    (worker,) = GROUPS[1]["template"]["spec"]["containers"]
    probe = worker["readinessProbe"]
    assert probe["timeoutSeconds"] > 4, "wget gives up first, and says why"
    assert probe["failureThreshold"] >= 3
    assert ":8000/-/healthz" in probe["exec"]["command"][-1]


def test_one_image_and_a_migration_of_its_own_before_it() -> None:
    images = {c["image"] for pod in PODS for c in pod["spec"]["containers"]}
    assert len(images) == 1
    version = images.pop().rpartition(":")[2]
    metadata = MIGRATE["metadata"]
    assert metadata["name"] == f"atalaia-migrate-{version.replace('.', '-')}"
    assert metadata["labels"]["app.kubernetes.io/version"] == version
    waves = [
        d["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"] for d in (MIGRATE, SERVICE)
    ]
    assert waves == ["1", "2"], "what names none has 0"
    head = (CONFIGS / "kubernetes-base.yaml").read_text(encoding="utf-8").split("apiVersion")[0]
    applied = [line.rpartition("/")[2] for line in head.splitlines() if "kubectl apply" in line]
    assert applied == [f"{name}.yaml" for name in FILES]
    assert f"app.kubernetes.io/version={version} job" in head


def test_workers_are_spread_and_go_one_by_one() -> None:
    worker = GROUPS[1]["template"]
    (spread,) = worker["spec"]["topologySpreadConstraints"]
    assert spread["topologyKey"] == "kubernetes.io/hostname"
    (budget,) = of_kind("PodDisruptionBudget").values()
    # Of pods whose number Kubernetes does not know, only a number may be asked.
    assert isinstance(budget["spec"]["minAvailable"], int)
    given = worker["metadata"]["labels"] | {"ray.io/group": GROUPS[1]["groupName"]}
    for selector in (spread["labelSelector"], budget["spec"]["selector"]):
        assert selector["matchLabels"].items() <= given.items()


# ------------------------------------------------------------ who may talk to whom

PARTS = ("cluster", "migrate", "database", "redis", "qdrant", "livekit", "gateway", "relay")


def _selects(selector: dict[str, Any], part: str) -> bool:
    labels = {"app.kubernetes.io/part-of": "atalaia", "app.kubernetes.io/component": part}
    return all(labels.get(k) == v for k, v in selector.get("matchLabels", {}).items()) and all(
        labels.get(e["key"]) in e["values"] for e in selector.get("matchExpressions", [])
    )


def _allowed(direction: str, of: str, other: str) -> bool:
    """Whether a policy of the pods `of` lets them talk to, or hear from, the pods `other`."""
    end = {"ingress": "from", "egress": "to"}[direction]
    return any(
        _selects(peer["podSelector"], other)
        for policy in of_kind("NetworkPolicy").values()
        if _selects(policy["spec"]["podSelector"], of)
        for rule in policy["spec"].get(direction, [])
        for peer in rule.get(end, [])
        if "podSelector" in peer and "namespaceSelector" not in peer
    )


def test_who_may_talk_to_whom() -> None:
    """Both ends must agree, and every pair that is not here is refused."""
    talking = {
        (a, b)
        for a in PARTS
        for b in PARTS
        if _allowed("egress", a, b) and _allowed("ingress", b, a)
    }
    assert talking == {
        ("cluster", "cluster"),
        ("cluster", "database"),
        ("cluster", "redis"),
        ("cluster", "qdrant"),
        ("cluster", "livekit"),
        ("cluster", "gateway"),
        ("cluster", "relay"),
        ("gateway", "relay"),
        ("migrate", "database"),
    }
    deny = of_kind("NetworkPolicy")["atalaia-deny"]["spec"]
    assert all(_selects(deny["podSelector"], part) for part in PARTS)
    assert set(deny["policyTypes"]) == {"Ingress", "Egress"}
    assert "ingress" not in deny
    assert "egress" not in deny


def test_only_the_relay_reaches_any_address_and_the_cluster_https_alone() -> None:
    anywhere = {
        name: rule.get("ports")
        for name, policy in of_kind("NetworkPolicy").items()
        for rule in policy["spec"].get("egress", [])
        if any("ipBlock" in peer for peer in rule.get("to", [{"ipBlock": {}}]))
    }
    assert anywhere == {
        "atalaia-cluster": [{"protocol": "TCP", "port": 443}],
        "atalaia-relay": None,
    }
