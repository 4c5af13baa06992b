"""Alarms that wait on this machine's disk until Redis takes them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar, TypeVarTuple, Unpack

from pydantic import ValidationError

from cluster.core.log import get_logger
from cluster.stores.bus.spool_file import SpoolFile, SpoolFullError
from pipelines.domain import Alarm

# 64 MB hold some 150,000 alarms (about 400 bytes each).
MAX_SPOOL_BYTES = 64 << 20
_DRAIN_BATCH = 64
_LOG = get_logger("bus.spool")

_T = TypeVar("_T")
_Args = TypeVarTuple("_Args")


class AlarmSpool:
    """A bounded queue of alarms on the disk, in order, that survives a crash at any moment.

    Belongs to one event loop, which never waits for the disk: the file is touched by one thread of
    the spool's own. Open it first, and close it also where that failed.

    Args:
        path: names the spool, see `spool_file`; one publisher at a time may have it.
        max_bytes: how large it may grow.
    """

    def __init__(self, path: Path, max_bytes: int = MAX_SPOOL_BYTES) -> None:
        self._file = SpoolFile(path, max_bytes)
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="alarm-spool")
        self._appending = 0
        self._closed = False
        self.refused = 0
        """Alarms that found no room."""

    async def open(self) -> None:
        """Raises ConfigError: the spool is in use, or cannot be written."""
        await self._run(self._file.open)

    @property
    def pending(self) -> int:
        """How many alarms wait, those that are being written now included."""
        return len(self._file) + self._appending

    @property
    def damaged(self) -> int:
        """Records that could not be read back."""
        return self._file.damaged

    async def append(self, alarm: Alarm) -> None:
        """Add an alarm at the end; it is on the disk when this returns.

        Raises:
            SpoolFullError: there is no room; the alarm is refused and counted.
        """
        # Counted before the first await: who reads `pending` next queues behind this one.
        self._appending += 1
        try:
            await self._run(self._file.append, alarm.model_dump_json().encode())
        except SpoolFullError:
            self.refused += 1
            raise
        finally:
            self._appending -= 1

    async def drain(self, publish: Callable[[Alarm], Awaitable[object]]) -> int:
        """Give the waiting alarms to `publish`, in order, until none waits.

        An alarm is taken out after `publish` took it. After a crash some are given again, so
        `publish` must be idempotent. Only one drain at a time.

        Returns:
            How many alarms were taken.

        Raises:
            Whatever `publish` raises; that alarm and those behind it stay.
        """
        total = 0
        while records := await self._run(self._file.peek, _DRAIN_BATCH):
            taken = 0
            try:
                for number, payload in records:
                    alarm = self._decoded(payload)
                    if alarm is not None:
                        await publish(alarm)
                        total += 1
                    taken = number
            finally:
                if taken:
                    # Shielded: where this task is cancelled, what was published is still taken out.
                    await asyncio.shield(self._run(self._file.advance, taken))
        return total

    async def aclose(self) -> None:
        """Release the file; what waits in it stays for the next one. Idempotent."""
        if not self._closed:
            self._closed = True
            await self._run(self._file.close)
            self._executor.shutdown()  # its one thread has nothing left to do

    def _decoded(self, payload: bytes | None) -> Alarm | None:
        try:
            if payload is not None:
                return Alarm.model_validate_json(payload)
            reason = "checksum"
        except ValidationError as error:
            reason = str(error.errors(include_url=False, include_input=False)[0]["msg"])
        self._file.damaged += 1
        _LOG.error("a spooled alarm cannot be read", spool=self._file.path.name, reason=reason)
        return None

    async def _run(self, call: Callable[[Unpack[_Args]], _T], *args: *_Args) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, call, *args)
