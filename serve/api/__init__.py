"""The HTTP API: the only way in for programs, for the dashboard and for people with curl."""
