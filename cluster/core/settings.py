"""The typed settings: YAML from `configs/`, overridden by the environment, parsed once.

`ATALAIA_CONFIG` names the YAML file. Environment variables override it: `ATALAIA_` and the key's
path, with two underscores between levels, e.g. `ATALAIA_LIVEKIT__API_SECRET`. Unknown keys and
invalid values are rejected with the key, where it was set, and what is allowed.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlsplit, urlunsplit

import yaml
from pydantic import (
    Field,
    SecretStr,
    ValidationError,
    field_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from cluster.core.addresses import AddressPolicy

# `as` the same name: everybody imports these sections from here.
from cluster.core.api_settings import ApiSettings as ApiSettings
from cluster.core.api_settings import AuthSettings as AuthSettings
from cluster.core.api_settings import QuotaSettings as QuotaSettings
from cluster.core.erasure_settings import ErasureSettings
from cluster.core.model_settings import DetectorSettings as DetectorSettings
from cluster.core.model_settings import EmbedderSettings as EmbedderSettings
from cluster.core.pod_settings import Placement, PodName, check_apart
from cluster.core.ray_settings import RaySettings as RaySettings
from cluster.core.retention_settings import RetentionSettings
from cluster.core.section import Port, Section
from cluster.core.store_settings import BlobSettings as BlobSettings
from cluster.core.store_settings import DatabaseSettings as DatabaseSettings
from cluster.core.store_settings import QdrantSettings as QdrantSettings
from cluster.core.store_settings import RedisProcess as RedisProcess
from cluster.core.store_settings import RedisSettings as RedisSettings
from cluster.core.store_settings import redis_user as redis_user
from pipelines.errors import ConfigError

ENV_PREFIX = "ATALAIA_"
ENV_DELIMITER = "__"
CONFIG_VARIABLE = "ATALAIA_CONFIG"
POD_VARIABLE = "ATALAIA_POD"
KEY_VARIABLE = "ATALAIA_KEY"
"""The command line's API key: has our prefix, but is not a setting."""
REDIS_VARIABLE = "REDIS_URL"
"""The name that hosting platforms use; the file and ATALAIA_REDIS__URL override it."""

MAX_SOCKET_PATH = 107
"""Bytes; Linux's `sun_path` has 108 including the terminating zero (unix(7))."""


class LiveKitSettings(Section):
    """The SFU that carries the rooms."""

    url: str = Field("ws://127.0.0.1:7880", description="ws:// or wss:// URL for bridge and agents")
    public_url: str | None = Field(None, description="URL given to browsers; default: `url`")
    api_key: str = "atalaia"
    api_secret: SecretStr = Field(SecretStr(""), description="at least 32 characters")
    managed: bool = Field(True, description="start livekit-server on this machine")
    rtc_udp_port: Port = Field(7882, description="UDP port for the media of the managed server")

    @property
    def browser_url(self) -> str:
        return self.public_url or self.url


class GatewaySettings(Section):
    """The media gateway, which pulls each camera once, and the relay through which it does."""

    kind: Literal["go2rtc", "mediamtx"] = "go2rtc"
    api_url: str | None = Field(
        None,
        description="http(s):// or unix:// URL; default: a Unix socket in data_dir where the "
        "gateway is started here, else http://127.0.0.1:1984",
    )
    rtsp_url: str = "rtsp://127.0.0.1:8554"
    managed: bool = Field(True, description="start the gateway and its relay on this machine")
    username: str | None = Field(None, description="default: generated if the gateway is managed")
    password: SecretStr | None = None
    secret: SecretStr | None = Field(
        None,
        description="keys stream names and camera URLs, at least 32 characters, the same for relay "
        "and cluster; default: derived from livekit.api_secret",
    )
    relay_url: str = Field(
        "tcp://127.0.0.1:8655", description="where the gateway and the cluster reach the relay"
    )
    relay_bind: str = Field("127.0.0.1", description="address that the relay listens on")
    allow: tuple[str, ...] = Field(
        ("private", "public"),
        description="networks and ports that cameras may have: `private`, `public`, "
        "`10.0.0.0/8`, `127.0.0.1:8554`, `[fd00::/8]:554-8554`",
    )
    deny: tuple[str, ...] = Field(
        (), description="networks and ports that cameras may not have; wins over `allow`"
    )

    @field_validator("relay_url")
    @classmethod
    def _whole_relay_url(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme != "tcp" or not parts.hostname or parts.port is None:
            raise ValueError("write tcp://host:port")
        return url

    @property
    def relay_port(self) -> int:
        return urlsplit(self.relay_url).port or 0

    @field_validator("allow", "deny")
    @classmethod
    def _readable(cls, entries: tuple[str, ...]) -> tuple[str, ...]:
        AddressPolicy.parse(entries)
        return entries

    @property
    def policy(self) -> AddressPolicy:
        return AddressPolicy.parse(self.allow, self.deny)


class BridgeSettings(Section):
    cameras_per_actor: Annotated[int, Field(ge=1, le=200)] = 32
    open_timeout_s: Annotated[float, Field(gt=0, le=120)] = 10.0
    read_timeout_s: Annotated[float, Field(gt=0, le=120)] = 5.0
    backoff_initial_s: Annotated[float, Field(gt=0)] = 0.5
    backoff_max_s: Annotated[float, Field(gt=0)] = 15.0


class RecordingSettings(Section):
    """How recordings are stored. What is recorded is configured per camera."""

    segment_s: Annotated[float, Field(ge=2, le=600)] = Field(
        60.0, description="length of a file; it ends at the next key frame"
    )
    alarm_segment_s: Annotated[float, Field(ge=2, le=600)] = Field(
        10.0, description="the same of cameras that keep what surrounds alarms"
    )
    grace_s: Annotated[float, Field(ge=0, le=3600)] = Field(
        20.0, description="how long an alarm may take from its frame to the records"
    )
    spool_mb: Annotated[int, Field(ge=16)] = Field(
        8192,
        description="disk for files that wait, of each bridge; then the oldest is dropped",
    )
    before_mask: Literal["allow", "block"] = Field(
        "allow",
        description="whether recordings, clips and pictures from before a camera had its masks are "
        "open to all who may see its evidence, or only with the permission live.unmasked",
    )


class AgentSettings(Section):
    cameras_per_host: Annotated[int, Field(ge=1, le=200)] = 16
    dispatch_grace_s: Annotated[float, Field(gt=0)] = Field(
        10.0, description="how long a dispatched watcher may take to appear before another is sent"
    )


class ControllerSettings(Section):
    interval_s: Annotated[float, Field(gt=0, le=60)] = 2.0
    stale_after_s: Annotated[float, Field(gt=0)] = Field(
        6.0, description="no fresh frame for this long: the camera is degraded"
    )
    lease_s: Annotated[float, Field(ge=2, le=120)] = Field(
        8.0,
        description="how long a controller that died keeps one of another Ray cluster waiting; "
        "above the time for which this one's process may be held up",
    )
    blind_after_s: Annotated[float, Field(ge=10, le=86_400)] = Field(
        60.0, description="a camera that is blind for this long raises a system alarm"
    )
    spares: Annotated[int, Field(ge=0, le=8)] = Field(
        1,
        description="bridges, and as many agent hosts, that are started beyond what the cameras "
        "need, and take over from one that dies; 0: cameras wait until another has started",
    )


class AuditSettings(Section):
    """The log of who saw or changed what. It is always written."""

    secret: SecretStr | None = Field(
        None,
        description="signs anchors, at least 32 characters, the same for every process; default: "
        "livekit.api_secret. Keep it from whoever can write to the database",
    )
    former_secrets: tuple[SecretStr, ...] = Field(
        (), description="secrets of earlier times, with which old anchors are checked"
    )
    anchor_dir: Path | None = Field(
        None, description="folder of the periodic anchors; default: audit in data_dir"
    )
    anchor_interval_s: Annotated[float, Field(ge=1, le=86_400)] = Field(
        3600.0, description="between two anchors of a chain that grows"
    )


class BatchSettings(Section):
    """Jobs that reprocess recordings."""

    workers: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        None, description="processes of one job that look; default: one per two CPUs of the cluster"
    )
    worker_threads: Annotated[int, Field(ge=0, le=256)] = Field(
        2, description="CPU threads of each worker's model; 0: all cores of its machine"
    )
    num_gpus: Annotated[float, Field(ge=0, le=8)] = Field(
        0.0, description="GPUs of each worker; a fraction shares one"
    )
    nice: Annotated[int, Field(ge=0, le=19)] = Field(
        19, description="nice value of workers, so that live work on the same CPUs comes first"
    )
    chunk_s: Annotated[float, Field(ge=1, le=3600)] = Field(
        30.0, description="approximate length of video per step, which is repeated after a crash"
    )
    jobs_per_tenant: Annotated[int, Field(ge=1, le=100)] = Field(
        2, description="jobs of one tenant that may be queued or running; more are refused"
    )
    models: tuple[str, ...] = Field(
        (), description="weights that tenants may choose for a job, besides the live detector's"
    )


class LogSettings(Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console"] = "json"


class PodSettings(Placement):
    """A pod: a cluster of its own. A section that is given replaces that of the same name as a
    whole; one that is not is the same as here."""

    livekit: LiveKitSettings | None = None
    gateway: GatewaySettings | None = None
    redis: RedisSettings | None = None
    database: DatabaseSettings | None = None
    qdrant: QdrantSettings | None = None
    blobs: BlobSettings | None = None
    ray: RaySettings | None = None
    detector: DetectorSettings | None = None
    embedder: EmbedderSettings | None = None
    api: ApiSettings | None = None
    auth: AuthSettings | None = None
    audit: AuditSettings | None = None


class Settings(BaseSettings):
    """All settings. Create them with `load_settings`, once, at an entry point; pass them on."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter=ENV_DELIMITER,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    data_dir: Path = Field(Path(".local"), description="folder for all data of this machine")
    livekit: LiveKitSettings = LiveKitSettings()
    gateway: GatewaySettings = GatewaySettings()
    redis: RedisSettings = RedisSettings()
    database: DatabaseSettings = DatabaseSettings()
    qdrant: QdrantSettings = QdrantSettings()
    blobs: BlobSettings = BlobSettings()
    ray: RaySettings = RaySettings()
    detector: DetectorSettings = DetectorSettings()
    embedder: EmbedderSettings = EmbedderSettings()
    bridge: BridgeSettings = BridgeSettings()
    recording: RecordingSettings = RecordingSettings()
    agents: AgentSettings = AgentSettings()
    controller: ControllerSettings = ControllerSettings()
    api: ApiSettings = ApiSettings()
    auth: AuthSettings = AuthSettings()
    quotas: QuotaSettings = QuotaSettings()
    audit: AuditSettings = AuditSettings()
    retention: RetentionSettings = RetentionSettings()
    erasure: ErasureSettings = ErasureSettings()
    batch: BatchSettings = BatchSettings()
    log: LogSettings = LogSettings()
    pods: dict[PodName, PodSettings] = Field({}, description="clusters of their own")
    pod: str | None = Field(None, description="which of `pods` this is; default: none of them")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # The YAML is passed as init arguments, so the environment must come first.
        return env_settings, init_settings

    # -- pods

    @field_validator("pods")
    @classmethod
    def _one_home(cls, pods: dict[str, PodSettings]) -> dict[str, PodSettings]:
        homes = Counter(tenant for pod in pods.values() for tenant in set(pod.tenants))
        if several := sorted(tenant for tenant, count in homes.items() if count > 1):
            raise ValueError(f"{', '.join(several)} would live in several pods")
        return pods

    def of_pod(self, name: str) -> Settings:
        """The settings of a pod, read from here.

        Raises:
            ConfigError: there is none of this name, or it shares a store with another cluster.
        """
        if name not in self.pods:
            known = ", ".join(sorted(self.pods)) or "none"
            raise ConfigError(f"there is no pod {name!r}.", hint=f"Known are: {known}.")
        base = self.model_copy(update={"pod": None})
        found = base._with_pod(name)
        check_apart(name, found, base, "the cluster that has `pods`")
        for other in self.pods.keys() - {name}:
            check_apart(name, found, base._with_pod(other), f"pod {other}")
        return found

    def _with_pod(self, name: str) -> Settings:
        pod = self.pods[name]
        sections = PodSettings.model_fields.keys() - Placement.model_fields.keys()
        own = {key: section for key in sections if (section := getattr(pod, key)) is not None}
        folder = pod.data_dir or self.data_dir / "pods" / name
        return self.model_copy(update=own | {"data_dir": folder, "pod": name})

    def home_of(self, tenant: str) -> str | None:
        """The pod where a tenant lives; None: where `pods` say nothing of it."""
        return next((name for name, pod in self.pods.items() if tenant in pod.tenants), None)

    # -- paths, and defaults that depend on other settings

    @property
    def redis_url(self) -> str:
        return (
            self.redis.url.get_secret_value()
            if self.redis.url
            else f"redis://127.0.0.1:{self.redis.port}/0"
        )

    def redis_url_of(self, process: RedisProcess) -> str:
        """The URL with which a kind of process signs in: as its own user, where it has one."""
        password = self.redis.passwords.get(process)
        if password is None:
            return self.redis_url
        parts = urlsplit(self.redis_url)
        user = f"{redis_user(process)}:{quote(password.get_secret_value(), safe='')}"
        hosts = parts.netloc.rpartition("@")[2]
        return urlunsplit(parts._replace(netloc=f"{user}@{hosts}"))

    @property
    def database_url(self) -> str:
        if self.database.url:
            return self.database.url.get_secret_value()
        return f"sqlite+aiosqlite:///{self.data_dir.resolve() / 'data' / 'atalaia.db'}"

    @property
    def migration_url(self) -> str:
        """URL of the database for whoever changes its schema."""
        url = self.database.migration_url
        return url.get_secret_value() if url else self.database_url

    @property
    def blob_url(self) -> str:
        return self.blobs.url or f"file://{self.data_dir.resolve() / 'data' / 'blobs'}"

    @property
    def qdrant_path(self) -> Path:
        return self.data_dir.resolve() / "data" / "qdrant"

    @property
    def model_cache(self) -> Path:
        return self.data_dir.resolve() / "models"

    @property
    def spool_dir(self) -> Path:
        return self.data_dir.resolve() / "spool"

    @property
    def recording_spool(self) -> Path:
        return self.data_dir.resolve() / "recordings-spool"

    @property
    def log_dir(self) -> Path:
        return self.data_dir.resolve() / "log"

    @property
    def run_dir(self) -> Path:
        return self.data_dir.resolve() / "run"

    @property
    def scratch_dir(self) -> Path:
        """For temporary files that are created, sent and deleted."""
        return self.data_dir.resolve() / "tmp"

    @property
    def anchor_dir(self) -> Path:
        return self.audit.anchor_dir or self.data_dir.resolve() / "audit"

    @property
    def gateway_socket(self) -> Path:
        """Where the API of a managed gateway listens."""
        wanted = self.run_dir / "gateway.sock"
        if len(os.fsencode(wanted)) <= MAX_SOCKET_PATH:
            return wanted
        digest = hashlib.sha256(os.fsencode(self.run_dir)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"atalaia-{os.getuid()}-{digest}" / wanted.name

    @property
    def gateway_api_url(self) -> str:
        if self.gateway.api_url is not None:
            return self.gateway.api_url
        if self.gateway.managed:
            return f"unix://{self.gateway_socket}"
        return "http://127.0.0.1:1984"

    @property
    def api_url(self) -> str:
        return self.api.url or f"http://{self.api.host}:{self.api.port}"


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        ConfigError: the file is missing, malformed, or not a mapping.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"cannot read the settings file {path}: {error.strerror}.",
            hint=f"Set {CONFIG_VARIABLE} to a file that exists.",
        ) from error
    except yaml.YAMLError as error:
        # What is said of it quotes the file, which may hold a secret there.
        raise ConfigError(
            f"{path} is not valid YAML{_place_of(error)}.",
            hint="Look for a missing quote, a tab, or a wrong indentation there.",
        ) from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold a mapping of sections at its top, like `api: …`.")
    return content


def _place_of(error: yaml.YAMLError) -> str:
    mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
    return "" if mark is None else f", at line {mark.line + 1}, column {mark.column + 1}"


def load_settings(path: Path | None = None) -> Settings:
    """Load the settings file (argument, else `ATALAIA_CONFIG`, else none) and the environment.

    Raises:
        ConfigError: names every invalid key, where it was set, and what is allowed.
    """
    if path is None and os.environ.get(CONFIG_VARIABLE):
        path = Path(os.environ[CONFIG_VARIABLE])
    content = read_yaml(path) if path else {}
    if os.environ.get(REDIS_VARIABLE):
        redis = content.setdefault("redis", {})
        if isinstance(redis, dict):  # anything else is rejected below, with its key
            redis.setdefault("url", os.environ[REDIS_VARIABLE])
    unknown = _unknown_variables()
    if unknown:
        raise ConfigError(
            f"unknown setting in the environment: {', '.join(unknown)}.",
            hint="Known sections: " + ", ".join(sorted(Settings.model_fields)) + ".",
        )
    try:
        found = Settings(**content)
    except ValidationError as error:
        raise ConfigError(_explain(error, path)) from None
    except SettingsError as error:
        raise ConfigError(
            f"no valid JSON in the environment: {', '.join(_json_variables(error))}.",
            hint='Lists and sections are written as JSON, like \'["a", "b"]\'.',
        ) from None
    return found if found.pod is None else found.of_pod(found.pod)


def _json_variables(error: SettingsError) -> list[str]:
    """The variables of the section that an error names: one of them is broken. What they hold is
    not looked at, so that it cannot be shown."""
    section = re.search(r'field "(\w+)"', str(error))
    start = ENV_PREFIX + (section[1].upper() if section else "")
    return sorted(name for name in os.environ if name.startswith(start)) or [start]


def _unknown_variables() -> list[str]:
    """Variables with our prefix whose first level is not a section; pydantic finds the others."""
    known = {name.upper() for name in Settings.model_fields} | {"CONFIG", "KEY"}
    return sorted(
        name
        for name in os.environ
        if name.startswith(ENV_PREFIX)
        and name.removeprefix(ENV_PREFIX).split(ENV_DELIMITER)[0] not in known
    )


def _explain(error: ValidationError, path: Path | None) -> str:
    lines = []
    for item in error.errors(include_url=False, include_input=False):
        key = ".".join(str(part) for part in item["loc"])
        variable = ENV_PREFIX + ENV_DELIMITER.join(str(part) for part in item["loc"]).upper()
        where = f"environment {variable}" if variable in os.environ else str(path or "the defaults")
        lines.append(f"{key} (in {where}): {item['msg']}")
    return "wrong settings:\n  " + "\n  ".join(lines)
