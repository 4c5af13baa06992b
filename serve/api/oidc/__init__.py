"""Sign-in at a tenant's own identity provider (OpenID Connect)."""
