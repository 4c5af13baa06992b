"""Names by which the parts of a running cluster find each other.

`agents` and `serve` never import each other; they are connected through these names.
"""

from __future__ import annotations

SERVE_APP = "atalaia"
"""The Ray Serve application that holds every deployment below."""

DETECTOR = "Detector"
EMBEDDER = "Embedder"
MEMORY = "Memory"
API = "Api"

CONTROLLER_ACTOR = "atalaia-controller"
LISTENER_ACTOR = "atalaia-listener"
BRIDGE_ACTOR = "atalaia-bridge-{index}"
HOST_ACTOR = "atalaia-host-{index}"

AGENT_NAME = "atalaia-watcher"
"""Agent name with which hosts register with LiveKit, and with which watchers are dispatched."""

BRIDGE_IDENTITY = "camera"
WATCHER_IDENTITY = "watcher"
"""Participant identities in a camera's room. Fixed, so that a second one replaces the first."""

MAIN_TRACK = "main"
DETECT_TRACK = "detect"
DETECTIONS_TRACK = "detections"
"""Names of the tracks in a camera's room: video, optional sub-stream, data."""

SERVE_ENVIRONMENT = {
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
    "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1000",
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",
    "FORWARDED_ALLOW_IPS": "",
}
"""Environment for every process that starts or joins Ray; `cluster/core/handles.py` has the gains.
Serve's controller checks its replicas twice a second; ten times took 3 % of a core. By default
uvicorn, on which Serve's proxies run, believes X-Forwarded-For of every process on its machine, so
that a caller there chooses its own address; `api.trusted_proxies` decides instead.

This is safe because our deployments never block their event loop, and because every process calls
its handles from one loop only.
"""

FRAMES_QUOTA = "analysed-frames-per-second"
"""Name of the quota that the API shows, and controller and jobs keep."""

JOBS_QUOTA = "jobs"
"""Name of the quota of jobs that are queued or running."""

STORAGE_QUOTA = "storage-bytes"
"""Name of the quota that the API shows and retention keeps."""
