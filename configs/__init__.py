"""Every deployable configuration, shipped with the package."""
