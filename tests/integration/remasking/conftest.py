"""The site of the retention tests: real SQLite and real files."""

from __future__ import annotations

from tests.integration.retention.conftest import migrated, site, stuck

__all__ = ["migrated", "site", "stuck"]
