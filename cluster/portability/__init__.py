"""Everything that a tenant has, handed over: rows as JSON Lines, media, a manifest with digests."""
