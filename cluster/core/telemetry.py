"""Disables the telemetry of libraries.

Found by monitoring the connections of every Python process of the demo (`tests/witness`): OpenVINO
reports its import, and the operations of each network it converts, to an analytics service, without
consent; ultralytics queries public resolvers at import to check for an internet connection, and
reports usage; Ray reports usage and, if that is disabled, once that it is. A closed camera network
cannot reach such services, and under the LGPD must not.
"""

from __future__ import annotations

import os
import sys

RAY_SILENCE = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Receives the report that it is off: the local discard port, where nothing listens.
    "RAY_USAGE_STATS_REPORT_URL": "http://127.0.0.1:9/",
}
ULTRALYTICS_SILENCE = {
    # No events and no look-ups. Models requested by name are still downloaded.
    "YOLO_OFFLINE": "true",
    # Otherwise it installs packages at run time, from whatever index pip uses.
    "YOLO_AUTOINSTALL": "false",
}


def silence_models() -> None:
    """Call before importing OpenVINO or ultralytics. Does not override the environment."""
    for name, value in ULTRALYTICS_SILENCE.items():
        os.environ.setdefault(name, value)
    # None makes the import fail; OpenVINO is designed to work without this module.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
