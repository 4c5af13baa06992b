"""Everything between a camera's URL and its access units: gateways, URLs, clocks, H.264."""
