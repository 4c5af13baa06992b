"""Ray's own readers accept the cluster files; the RayService has the fields that we lean on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

# Ray's own models, as of 2.60, use what pydantic calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.PydanticDeprecatedSince20")

CONFIGS = Path(__file__).parents[3] / "configs"
DOCUMENTS: list[Any] = list(
    yaml.safe_load_all((CONFIGS / "kuberay-rayservice.yaml").read_text(encoding="utf-8"))
)
SERVICE = next(d for d in DOCUMENTS if d["kind"] == "RayService")
MIGRATE = next(d for d in DOCUMENTS if d["kind"] == "Job")
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
    assert reference["name"] == "atalaia-secrets"


@pytest.mark.parametrize("pod", [*(g["template"] for g in GROUPS), MIGRATE["spec"]["template"]])
def test_pods_run_as_nobody_special(pod: dict[str, Any]) -> None:
    security = pod["spec"]["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] == 10001
    for container in pod["spec"]["containers"]:
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["image"].endswith(":0.1.0")
        sources = [next(iter(source)) for source in container["envFrom"]]
        assert sources == ["configMapRef", "secretRef"]
        assert not container.get("env"), "secrets come from the Secret"
