"""The audit log of the HTTP API: what each route logs, the writer, and `/v1/audit`."""
