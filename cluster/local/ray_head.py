"""A Ray cluster on this machine: on loopback, with a token, and never outliving its owner.

Measured: after SIGKILL of a process that had called `ray.init()`, two of Ray's agents were still
running a minute later. The head therefore runs under a subreaper like every other server, and this
process only connects to it.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import sys
from pathlib import Path

from cluster.core.settings import Settings
from cluster.core.telemetry import RAY_SILENCE
from cluster.local.files import PRIVATE_DIR, write_private
from cluster.local.lifecycle import RestartPolicy
from cluster.local.ports import free_port
from cluster.local.probes import AllOf, TcpProbe
from cluster.local.process import ProcessSpec
from cluster.local.ray_folder import RayFolder, folder_path, forget_logs

LOOPBACK = "127.0.0.1"

# Named for macOS and Windows, but switching it off has the effect we want on Linux too: the node's
# address becomes 127.0.0.1. Otherwise Ray replaces even an explicit loopback address with a
# reachable one, and its object store, scheduler and workers listen on every interface.
LOOPBACK_SWITCH = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"

RAY_ENVIRONMENT = {
    LOOPBACK_SWITCH: "0",
    "RAY_AUTH_MODE": "token",
    # glibc gives each of a worker's many threads a heap of its own, and returns little of them.
    "MALLOC_ARENA_MAX": "2",
    **RAY_SILENCE,
}

# Measured: 13 s on two idle cores, 40 s on two cores shared with eight other loads.
START_TIMEOUT_S = 180.0
TOKEN_BYTES = 32
# The head needs no longer shutdown: persistent state is in Redis, SQL and files.
STOP_TIMEOUT_S = 2.0
KEEP_SESSIONS = 1
"""Sessions to keep of processes that were killed, for their logs."""


def session_root(settings: Settings) -> Path:
    """Folder for Ray's sessions, one for each `data_dir`; see `ray_folder`."""
    digest = hashlib.sha256(str(settings.data_dir.resolve()).encode()).hexdigest()[:8]
    return folder_path(digest)


def ensure_token() -> None:
    """Create this user's Ray token if there is none yet.

    In Ray's default location, so that `ray job submit` and `ray status` find it too. `ray.init()`
    would create it; `ray start` fails instead.
    """
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return
    path = Path.home() / ".ray" / "auth_token"
    if not path.exists():
        path.parent.mkdir(mode=PRIVATE_DIR, exist_ok=True)
        write_private(path, secrets.token_hex(TOKEN_BYTES))


def use_loopback() -> None:
    """Let this process and its children join Ray on loopback. Call before `ray.init`."""
    os.environ.update(RAY_ENVIRONMENT)
    if constants := sys.modules.get("ray._private.ray_constants"):
        # It read the environment at import.
        vars(constants)["ENABLE_RAY_CLUSTER"] = False
    if raylet := sys.modules.get("ray._raylet"):
        # So did its native part, whose default mode is "no token": without this, joining fails.
        raylet.Config.initialize("")


def ray_spec(settings: Settings, gcs_port: int) -> ProcessSpec:
    """The head node. It is not restarted when lost, because its drivers would have to reconnect."""
    folder = RayFolder(session_root(settings))
    sessions, logs = folder.sessions, settings.log_dir / "ray"
    path = os.pathsep.join([own_python(), os.environ.get("PATH", os.defpath)])
    ray = settings.ray
    argv = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
    argv += [f"--node-ip-address={LOOPBACK}", f"--port={gcs_port}", f"--temp-dir={sessions}"]
    argv += [f"--dashboard-host={LOOPBACK}", f"--dashboard-port={ray.dashboard_port}"]
    argv += [f"--dashboard-agent-listen-port={free_port()}", "--include-log-monitor=false"]
    # These ports are fixed by default, which prevents a second cluster on this machine.
    argv += [
        f"--ray-client-server-port={free_port()}",
        "--min-worker-port=0",
        "--max-worker-port=0",
    ]
    argv += [f"--object-store-memory={ray.object_store_mb * 1_000_000}", "--disable-usage-stats"]
    if ray.num_cpus is not None:
        argv.append(f"--num-cpus={ray.num_cpus}")

    def prepare() -> None:
        folder.open()
        _delete_old(sessions)
        _link_logs(logs, sessions / "session_latest" / "logs")

    return ProcessSpec(
        name="ray",
        argv=tuple(argv),
        probe=AllOf(TcpProbe(LOOPBACK, gcs_port), TcpProbe(LOOPBACK, ray.dashboard_port)),
        log_dir=settings.log_dir,
        prepare=prepare,
        cleanup=lambda: folder.close(keep_logs=logs),
        environment={**RAY_ENVIRONMENT, "NO_COLOR": "1", "PATH": path},
        start_timeout_s=START_TIMEOUT_S,
        stop_timeout_s=STOP_TIMEOUT_S,
        restart=RestartPolicy(budget=0),
    )


def own_python() -> str:
    """The folder of our Python, for the PATH of `ray job submit -- python …`."""
    return str(Path(sys.executable).parent)


def connect(address: str, namespace: str) -> None:
    """Make this process a driver of the cluster at `address`. Blocks for seconds.

    Raises:
        ConnectionError, RuntimeError, ValueError: from `ray.init`, if it cannot join.
    """
    import logging

    import ray

    ray.init(
        address=address,
        namespace=namespace,
        log_to_driver=False,  # workers write to their own logs, not to the terminal
        logging_level=logging.ERROR,
    )


def disconnect() -> None:
    """Leave the cluster. Idempotent."""
    import ray

    ray.shutdown()


def _delete_old(sessions: Path) -> None:
    old = sorted(path for path in sessions.glob("session_2*") if path.is_dir())
    for session in old[:-KEEP_SESSIONS]:
        shutil.rmtree(session, ignore_errors=True)


def _link_logs(link: Path, target: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    if link.is_dir() and not link.is_symlink():
        previous = link.with_name(f"{link.name}.1")
        forget_logs(previous)
        link.rename(previous)
    forget_logs(link)
    link.symlink_to(target)
