"""Demo cameras: footage with exactly known events, played as RTSP cameras on this machine."""
