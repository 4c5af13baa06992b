"""Libraries that tell their makers how they are used are told not to.

Found by watching what every Python process of the demo connects to (`tests/witness`): OpenVINO
reports its import, and the operations of each network that it converts, to an analytics service,
without asking; ultralytics asks public resolvers whether there is an internet when it is imported,
and counts what it does; Ray reports its use and, with that switched off, once that it is off.
Cameras of a closed network have nobody to talk to, and under the LGPD nobody they should.
"""

from __future__ import annotations

import os
import sys

RAY_SILENCE = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Where it says that it is off: the discard port of this machine, on which nobody listens.
    "RAY_USAGE_STATS_REPORT_URL": "http://127.0.0.1:9/",
}
ULTRALYTICS_SILENCE = {
    # No events and no look-ups. A model that is named is downloaded all the same.
    "YOLO_OFFLINE": "true",
    # It would otherwise install packages by itself, at run time, from wherever pip looks.
    "YOLO_AUTOINSTALL": "false",
}


def silence_models() -> None:
    """Call before OpenVINO or ultralytics is imported. What the environment says already, stays."""
    for name, value in ULTRALYTICS_SILENCE.items():
        os.environ.setdefault(name, value)
    # None stands for "cannot be imported"; OpenVINO then does without, as it is made to.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
