"""Measurements that the documentation quotes. Not installed with the package."""
