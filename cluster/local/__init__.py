"""Atalaia's servers on one machine: find or build, start, supervise and stop them."""
