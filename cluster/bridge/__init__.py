"""Camera to room: pulls cameras from the gateway and publishes them, unchanged where it can."""
