"""Models without Ray: weights, exports, runtimes, embedders; all of it runs in plain processes."""

from cluster.core.telemetry import silence_models

silence_models()
