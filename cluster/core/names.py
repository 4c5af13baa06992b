"""Names by which the parts of a running cluster find each other.

agents and serve never import each other: these names are where they meet.
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
"""Name under which agent hosts register with LiveKit, and under which watchers are dispatched."""

BRIDGE_IDENTITY = "camera"
WATCHER_IDENTITY = "watcher"
"""Participants of a camera's room. Fixed, so that a second one replaces the first."""

MAIN_TRACK = "main"
DETECT_TRACK = "detect"
DETECTIONS_TRACK = "detections"
"""Names of the tracks in a camera's room: picture, optional sub-stream, data."""

SERVE_ENVIRONMENT = {
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
    "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1000",
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",
}
"""For the environment of whoever starts Ray or joins it; what it saves: `cluster/core/handles.py`.
Serve's controller looks at its replicas twice a second: ten times took 3 % of a core.

It holds because our deployments never block their loop, and because every process calls its handles
from one loop only.
"""
