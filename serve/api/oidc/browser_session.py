"""The cookie that a browser has between leaving for an identity provider and coming back."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.middleware.sessions import SessionMiddleware

from cluster.core.settings import Settings
from serve.api.auth import OIDC_PREFIX
from serve.api.user_tokens import TokenKeys

# Whoever takes longer to sign in begins again.
TTL_S = 600
_PURPOSE = b"atalaia: sign-in at an identity provider, version 1"


def add_sign_in_session(app: FastAPI, settings: Settings) -> None:
    """Keep state, nonce and code verifier of a sign-in in a signed cookie of the browser in which
    it began.

    Raises:
        ConfigError: a key of the settings is too short.
    """
    app.add_middleware(
        SessionMiddleware,
        secret_key=TokenKeys.of(settings).derived(_PURPOSE),
        session_cookie="atalaia_oidc",
        max_age=TTL_S,
        path=OIDC_PREFIX,
        # Strict would not come back with the browser, which another site sends.
        same_site="lax",
        https_only=settings.api_url.startswith("https://"),
    )
