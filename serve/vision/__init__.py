"""Models without Ray: weights, exports, runtimes and embedders. Everything here runs in a plain process."""
