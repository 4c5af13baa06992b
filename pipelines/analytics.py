"""What many objects say together: counts per hour of a time zone, and where they stood. Pure."""

from __future__ import annotations

SLOT_US = 15 * 60 * 1_000_000
"""Offsets of today's time zones are multiples of a quarter of an hour, so hours of any zone are
made of these."""
