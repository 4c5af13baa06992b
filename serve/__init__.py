"""Ray Serve deployments: detector, embedder, memory, and the HTTP API with its dashboard."""
