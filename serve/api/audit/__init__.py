"""The audit log of the HTTP API: what is logged of each route, by whom it is written and read."""
