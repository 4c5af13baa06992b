"""Identities of viewers in a room. Everybody in the room sees them, but only we can read from them
with which key or session somebody joined.

LiveKit renews the token of whoever is in a room, and lets a participant that was removed come back
with it. The identity stays the same in all of them.
"""

from __future__ import annotations

import secrets

from pydantic import SecretStr

from cluster.core.holders import Credential, Holder
from cluster.media.sealing import Seal

VIEWER_PREFIX = "viewer-"
_PURPOSE = "viewers"
# So that every identity is new: LiveKit ends an earlier session of the same one.
_NONCE_BYTES = 9


class ViewerIds:
    """Makes identities and reads them.

    Args:
        secret: LiveKit's, which every process has that issues tokens or carries cameras.
    """

    def __init__(self, secret: SecretStr) -> None:
        self._seal = Seal(secret.get_secret_value(), _PURPOSE)

    def new(self, holder: Holder) -> str:
        """An identity that was never used; some 110 characters, LiveKit takes 256."""
        text = f"{secrets.token_urlsafe(_NONCE_BYTES)} {holder.credential} {holder.rights}"
        return VIEWER_PREFIX + self._seal.seal(text)

    def read(self, identity: str) -> Holder | None:
        """Who joined; None: the identity was not made here, or with another secret."""
        text = self._seal.open(identity.removeprefix(VIEWER_PREFIX))
        if text is None:
            return None
        _, credential, rights = text.split(" ", 2)
        return Holder(Credential.parse(credential), rights)


def is_viewer(identity: str) -> bool:
    """Whether a participant is neither a camera nor an agent, but somebody who watches."""
    return identity.startswith(VIEWER_PREFIX)
