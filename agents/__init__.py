"""LiveKit participants that watch the rooms."""
