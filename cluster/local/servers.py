"""Process specs, one per managed server, derived from the settings."""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from cluster.core.settings import Settings
from cluster.local.files import ensure_private_dir, write_private
from cluster.local.ports import PortNeed, split_address
from cluster.local.probes import AllOf, HttpProbe, RedisProbe, TcpProbe
from cluster.local.process import ProcessSpec
from cluster.media.sealing import GatewayKeys
from cluster.relay.server import RelayConfig
from pipelines.errors import ConfigError

LIVEKIT_PORT = 7880
GATEWAY_API_PORT = 1984
GATEWAY_RTSP_PORT = 8554
RELAY_PORT = 8655

# `appendfsync always`: with `everysec`, a SIGKILL lost acknowledged alarms. It costs 0.3 ms per
# alarm.
VALKEY_CONFIG = """\
bind {host}
port {port}
protected-mode yes
daemonize no
appendonly yes
appendfsync always
save ""
maxmemory-policy noeviction
dir {folder}
"""


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _own_address(url: str, default_port: int, setting: str) -> tuple[str, int]:
    """Where a managed server listens. Always on loopback, as some have no password."""
    host, port = split_address(url, default_port)
    if not is_loopback(host):
        raise ConfigError(
            f"{setting} is {host}, but servers that Atalaia starts listen on loopback only.",
            hint="Use 127.0.0.1, or run the server yourself and set `managed: false`.",
        )
    return ("127.0.0.1" if host == "localhost" else host), port


def livekit_config(settings: Settings) -> dict[str, Any]:
    """livekit-server's configuration: loopback only, for media too.

    Raises:
        ConfigError: `livekit.url` is not on loopback.
    """
    host, port = _own_address(settings.livekit.url, LIVEKIT_PORT, "livekit.url")
    network = f"{host}/{ipaddress.ip_address(host).max_prefixlen}"
    return {
        "port": port,
        "bind_addresses": [host],
        "rtc": {
            # Media over TCP would listen on every interface regardless of `bind_addresses`; within
            # one machine, UDP always works.
            "tcp_port": 0,
            "udp_port": settings.livekit.rtc_udp_port,
            "use_external_ip": False,
            "node_ip": host,
            "enable_loopback_candidate": True,
            "ips": {"includes": [network]},
            # Without an entry, every participant is directed to public STUN servers, which are
            # useless on loopback. This is the discard port. Never use the media port: libwebrtc
            # takes everything that comes from a STUN server for its response.
            "stun_servers": [f"{host}:9"],
        },
        "keys": {settings.livekit.api_key: settings.livekit.api_secret.get_secret_value()},
        "room": {"auto_create": True},
        "logging": {"level": settings.log.level.replace("warning", "warn"), "json": True},
    }


def livekit_spec(settings: Settings, binary: Path) -> ProcessSpec:
    host, port = _own_address(settings.livekit.url, LIVEKIT_PORT, "livekit.url")
    config = settings.run_dir / "livekit.yaml"

    def prepare() -> None:
        _write_yaml(config, livekit_config(settings))

    return ProcessSpec(
        name="livekit",
        argv=(str(binary), "--config", str(config)),
        probe=HttpProbe(host, port),
        log_dir=settings.log_dir,
        prepare=prepare,
    )


# The modules needed to pull from the relay and to serve RTSP. Leaving out the others disables
# `exec:`, `echo:`, `expr:` and `ffmpeg:` sources, and pages that turn a query into a source.
GO2RTC_MODULES = ("api", "rtsp", "rtmp", "http")


def go2rtc_config(settings: Settings) -> dict[str, Any]:
    """go2rtc's configuration: few modules, API and RTSP on loopback behind a password.

    Raises:
        ConfigError: an address is not on loopback, or there is no secret.
    """
    rtsp_host, rtsp_port = _own_address(
        settings.gateway.rtsp_url, GATEWAY_RTSP_PORT, "gateway.rtsp_url"
    )
    keys = GatewayKeys.of(settings)
    assert keys.username is not None
    assert keys.password is not None
    login = {"username": keys.username, "password": keys.password.get_secret_value()}
    socket = gateway_socket(settings)
    listen = ":".join(map(str, _gateway_api(settings))) if socket is None else ""
    return {
        "app": {"modules": list(GO2RTC_MODULES)},
        "api": {
            "listen": listen,
            "unix_listen": str(socket or ""),
            # Otherwise local clients need no password.
            "local_auth": True,
            "allow_paths": ["/api", "/api/streams"],
            **login,
        },
        "rtsp": {"listen": f"{rtsp_host}:{rtsp_port}", **login},
        "rtmp": {"listen": ""},
        "log": {"level": settings.log.level.replace("warning", "warn"), "format": "json"},
    }


def gateway_socket(settings: Settings) -> Path | None:
    """The Unix socket of the gateway's API; None if it listens on a port."""
    url = settings.gateway_api_url
    if not url.startswith("unix://"):
        return None
    return Path(url.removeprefix("unix://"))


def _gateway_api(settings: Settings) -> tuple[str, int]:
    return _own_address(settings.gateway_api_url, GATEWAY_API_PORT, "gateway.api_url")


def go2rtc_spec(settings: Settings, binary: Path) -> ProcessSpec:
    config = settings.run_dir / "go2rtc.yaml"
    content = go2rtc_config(settings)
    socket = gateway_socket(settings)
    rtsp_host, rtsp_port = content["rtsp"]["listen"].rsplit(":", 1)

    def prepare() -> None:
        if socket is not None:
            ensure_private_dir(socket.parent)
        # go2rtc saves every stream in its configuration. The cameras may have changed while it was
        # down, so it starts empty and the controller sets the streams again.
        _write_yaml(config, content)

    # A 401 proves that it responds, so the probe needs no password.
    api = (
        HttpProbe(*_gateway_api(settings), "/api", status=401)
        if socket is None
        else HttpProbe(socket, None, "/api", status=401)
    )
    return ProcessSpec(
        name="go2rtc",
        argv=(str(binary), "-config", str(config)),
        # If a port is taken, go2rtc only logs it and continues, so both are probed.
        probe=AllOf(api, TcpProbe(rtsp_host, int(rtsp_port))),
        log_dir=settings.log_dir,
        prepare=prepare,
    )


def relay_spec(settings: Settings) -> ProcessSpec:
    """The relay between go2rtc and the cameras."""
    host, port = _own_address(settings.gateway.relay_url, RELAY_PORT, "gateway.relay_url")
    file = settings.run_dir / "relay.json"

    def prepare() -> None:
        ensure_private_dir(file.parent)
        content = RelayConfig.of(settings).model_copy(update={"bind": host, "port": port})
        write_private(file, content.to_json())

    return ProcessSpec(
        name="relay",
        argv=(sys.executable, "-m", "cluster.relay", str(file)),
        probe=HttpProbe(host, port, "/healthz"),
        log_dir=settings.log_dir,
        prepare=prepare,
    )


def valkey_spec(settings: Settings, binary: Path) -> ProcessSpec:
    host, port = "127.0.0.1", settings.redis.port
    config = settings.run_dir / "valkey.conf"
    folder = settings.data_dir.resolve() / "data" / "redis"

    def prepare() -> None:
        ensure_private_dir(folder)
        ensure_private_dir(config.parent)
        quoted = '"' + str(folder).replace("\\", "\\\\").replace('"', '\\"') + '"'
        write_private(config, VALKEY_CONFIG.format(host=host, port=port, folder=quoted))

    return ProcessSpec(
        name="valkey",
        argv=(str(binary), str(config)),
        probe=RedisProbe(host, port),
        log_dir=settings.log_dir,
        prepare=prepare,
        # It reads its append-only file, which may be long, before it responds.
        start_timeout_s=60.0,
    )


def needed_ports(settings: Settings) -> list[PortNeed]:
    """Every port that the managed servers and the API will listen on."""
    needs = [PortNeed("the API", settings.api.host, settings.api.port, "ATALAIA_API__PORT={port}")]
    if settings.livekit.managed:
        host, port = _own_address(settings.livekit.url, LIVEKIT_PORT, "livekit.url")
        needs += [
            PortNeed("LiveKit", host, port, f"ATALAIA_LIVEKIT__URL=ws://{host}:{{port}}"),
            PortNeed(
                "LiveKit media",
                host,
                settings.livekit.rtc_udp_port,
                "ATALAIA_LIVEKIT__RTC_UDP_PORT={port}",
                "udp",
            ),
        ]
    if settings.gateway.managed:
        needs += _gateway_ports(settings)
    if settings.redis.url is None:
        move = "ATALAIA_REDIS__PORT={port}"
        needs.append(PortNeed("Redis", "127.0.0.1", settings.redis.port, move))
    if settings.ray.address is None:
        move = "ATALAIA_RAY__DASHBOARD_PORT={port}"
        needs.append(PortNeed("Ray's dashboard", "127.0.0.1", settings.ray.dashboard_port, move))
    return needs


def _gateway_ports(settings: Settings) -> list[PortNeed]:
    rtsp = _own_address(settings.gateway.rtsp_url, GATEWAY_RTSP_PORT, "gateway.rtsp_url")
    relay = _own_address(settings.gateway.relay_url, RELAY_PORT, "gateway.relay_url")
    needs = [
        PortNeed(
            "the media gateway's RTSP",
            *rtsp,
            f"ATALAIA_GATEWAY__RTSP_URL=rtsp://{rtsp[0]}:{{port}}",
        ),
        PortNeed(
            "the camera relay", *relay, f"ATALAIA_GATEWAY__RELAY_URL=tcp://{relay[0]}:{{port}}"
        ),
    ]
    if gateway_socket(settings) is None:
        api = _gateway_api(settings)
        move = f"ATALAIA_GATEWAY__API_URL=http://{api[0]}:{{port}}"
        needs.append(PortNeed("the media gateway's API", *api, move))
    return needs


def _write_yaml(path: Path, content: Mapping[str, Any]) -> None:
    ensure_private_dir(path.parent)
    write_private(path, yaml.safe_dump(dict(content), sort_keys=False))
