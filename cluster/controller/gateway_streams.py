"""Keeps the gateway's streams as the cameras want them, apart from everything else."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from pydantic import SecretStr

from cluster.media.gateway import MediaGateway, StreamName
from pipelines.domain import CameraKey, CameraPlan, RecordingMode
from pipelines.errors import AtalaiaError


class GatewayStreams:
    """What the gateway has, and which version of each camera it was given.

    Attributes:
        versions: of the cameras whose streams the gateway was given, or refused: a bridge may
            open these. See `version_of`.
        errors: why the gateway refused a camera's stream.
    """

    def __init__(self, gateway: MediaGateway) -> None:
        self.versions: dict[CameraKey, str] = {}
        self.errors: dict[CameraKey, str] = {}
        self._gateway = gateway
        self._urls: dict[str, str] = {}

    async def sync(self, wanted: Mapping[CameraKey, CameraPlan]) -> None:
        """Remove what nobody wants, add what is missing or has another URL.

        Raises:
            AtalaiaError: the gateway cannot be reached.
        """
        for key in self.versions.keys() - wanted.keys():
            del self.versions[key]
            self.errors.pop(key, None)
        streams = {name: url for plan in wanted.values() for name, url in _streams(plan)}
        present = await self._gateway.names()
        for name in present - streams.keys():
            await self._gateway.remove(name)
            self._urls.pop(name, None)
        for key, plan in wanted.items():
            await self._ensure(key, plan, present)

    async def _ensure(self, key: CameraKey, plan: CameraPlan, present: set[str]) -> None:
        refused = ""
        for name, url in _streams(plan):
            digest = digest_of(url.get_secret_value())
            if name in present and self._urls.get(name) == digest:
                continue
            try:
                await self._gateway.ensure(name, url)
                self._urls[name] = digest
            except AtalaiaError as error:
                refused = error.message
        self.versions[key] = version_of(plan)
        if refused:
            self.errors[key] = refused
        else:
            self.errors.pop(key, None)


def _streams(plan: CameraPlan) -> list[tuple[str, SecretStr]]:
    found = [(plan.key.room, plan.camera.url)]
    if plan.camera.substream_url is not None:
        found.append((str(StreamName(plan.key, sub=True)), plan.camera.substream_url))
    return found


def digest_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def version_of(plan: CameraPlan) -> str:
    """A hash that changes when the camera must be pulled again; does not reveal the URL."""
    camera = plan.camera
    sub = camera.substream_url.get_secret_value() if camera.substream_url else ""
    sound = "\0sound" if records_audio(plan) else ""
    return digest_of(f"{camera.url.get_secret_value()}\0{sub}{sound}")


def records_audio(plan: CameraPlan) -> bool:
    recording = plan.camera.recording
    return recording.audio and recording.mode is not RecordingMode.OFF
