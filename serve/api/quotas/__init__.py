"""What each tenant, and each key, may use."""
