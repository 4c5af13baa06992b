"""Pods: which settings they have, and that they share no store."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from cluster.core.settings import ENV_PREFIX, Settings, load_settings
from pipelines.errors import ConfigError

OWN = {
    "redis": {"port": 6391},
    "livekit": {"url": "ws://127.0.0.1:7980", "rtc_udp_port": 7982},
    "gateway": {"rtsp_url": "rtsp://127.0.0.1:8654", "relay_url": "tcp://127.0.0.1:8755"},
    "api": {"port": 8200},
}


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(ENV_PREFIX):
            monkeypatch.delenv(name)


def load(folder: Path, **pods: object) -> Settings:
    path = folder / "settings.yaml"
    text = yaml.safe_dump({"data_dir": str(folder / "data"), "pods": pods})
    path.write_text(text, encoding="utf-8")
    return load_settings(path)


def pod(**fields: object) -> dict[str, object]:
    return {"url": "https://acme.example", "tenants": ["acme"], **OWN, **fields}


def test_a_pod_has_stores_of_its_own_and_the_rest_from_here(tmp_path: Path) -> None:
    base = load(tmp_path, acme_pod=pod(detector={"weights": "yolov8x.pt"}))
    found = base.of_pod("acme_pod")
    assert found.data_dir == tmp_path / "data" / "pods" / "acme_pod"
    assert found.database_url != base.database_url
    assert (found.blob_url, found.qdrant_path) != (base.blob_url, base.qdrant_path)
    assert found.redis_url == "redis://127.0.0.1:6391/0"
    assert found.detector.weights == "yolov8x.pt"
    assert found.embedder == base.embedder
    assert (base.pod, found.pod) == (None, "acme_pod")
    assert (base.home_of("acme"), base.home_of("globex")) == ("acme_pod", None)


def test_one_variable_chooses_the_pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATALAIA_POD", "acme_pod")
    monkeypatch.setenv("ATALAIA_PODS__ACME_POD__DATABASE__URL", "postgresql://u:hunter2@db/acme")
    found = load(tmp_path, acme_pod=pod())
    assert found.pod == "acme_pod"
    assert found.database_url == "postgresql://u:hunter2@db/acme"
    assert "hunter2" not in repr(found)
    monkeypatch.setenv("ATALAIA_POD", "another")
    with pytest.raises(ConfigError, match="no pod 'another'") as error:
        load(tmp_path, acme_pod=pod())
    assert error.value.hint == "Known are: acme_pod."


@pytest.mark.parametrize("section", sorted(OWN))
def test_a_pod_without_a_store_of_its_own_does_not_start(tmp_path: Path, section: str) -> None:
    shared = {key: value for key, value in pod().items() if key != section}
    base = load(tmp_path, acme_pod=shared)  # the others need not know
    with pytest.raises(ConfigError, match=rf"has the same {section}\.\w+ as the cluster"):
        base.of_pod("acme_pod")


def test_two_pods_share_nothing_either(tmp_path: Path) -> None:
    twin = pod(tenants=["globex"], data_dir=str(tmp_path / "twin"), redis={"port": 6392})
    base = load(tmp_path, acme_pod=pod(), globex_pod=twin)
    with pytest.raises(ConfigError, match="as pod acme_pod") as error:
        base.of_pod("globex_pod")
    assert "livekit.url" in error.value.message
    assert "redis" not in error.value.message


def test_two_logins_of_one_database_are_one_store(tmp_path: Path) -> None:
    own = pod(database={"url": "postgresql://acme:x@db/atalaia", "encryption_key": "k" * 32})
    base = load(tmp_path, acme_pod=own)
    database = base.database.model_copy(
        update={"url": type(base.livekit.api_secret)("postgresql://other:y@db/atalaia")}
    )
    with pytest.raises(ConfigError, match=r"the same database\.url") as error:
        base.model_copy(update={"database": database}).of_pod("acme_pod")
    assert "x@" not in error.value.message


def test_a_tenant_has_one_home(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="acme would live in several pods"):
        load(tmp_path, one=pod(), two=pod())


@pytest.mark.parametrize("url", ["acme.example", "ftp://acme.example", "https://a:b@acme.example"])
def test_its_address_is_one_of_http(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError, match=r"pods\.acme_pod\.url"):
        load(tmp_path, acme_pod=pod(url=url))
