"""Erasure of objects and tenants on request: a saga over all stores, and its signed receipt."""
