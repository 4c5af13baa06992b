"""Demo cameras: footage whose events are known exactly, played as RTSP cameras on this machine."""
