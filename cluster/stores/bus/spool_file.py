"""A queue of byte records in an SQLite database that survives a crash at any moment.

The files of the spool `<name>.spool`:

    <name>.spool.db, -wal        the database and its log
    <name>.spool.lock            held by the owner for as long as it lives
    <name>.spool.damaged, -wal   the last that was found damaged, for people
    <name>.spool                 of a version before SQLite: taken over when the spool is opened
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import zlib
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing, suppress
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Literal, Self, TypeVar, TypeVarTuple, Unpack

from cluster.core.files import sync
from cluster.core.log import get_logger
from cluster.stores.bus.spool_lines import read_lines
from pipelines.errors import ConfigError, UnavailableError

SUFFIX = ".spool"
PAGE_BYTES = 4096
# There is one owner, so no memory has to be shared, and network disks will do. A log that is cut
# when it begins anew holds nothing behind its last whole frame, unless it is damaged there.
_SETUP = f"""
PRAGMA locking_mode = EXCLUSIVE;
PRAGMA page_size = {PAGE_BYTES};
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
PRAGMA journal_size_limit = 0;
"""
_TABLE = "CREATE TABLE records (number INTEGER PRIMARY KEY, crc INTEGER, payload BLOB)"
_LOG_HEADER_BYTES, _FRAME_HEADER_BYTES = 32, 24
# What SQLite and its driver raise: a message with a damaged name in it may not even be UTF-8.
_ERRORS = (OSError, sqlite3.Error, UnicodeError)
_DISK_TROUBLE = {
    *(sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY),
    *(sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOMEM),
}

_LOG = get_logger("bus.spool")
_T = TypeVar("_T")
_Args = TypeVarTuple("_Args")
_Row = tuple[int, int, bytes]


class SpoolFullError(UnavailableError):
    """The spool has reached its bound (or the disk its end); the newest record is refused."""

    code = "spool-full"


class SpoolFile:
    """Belongs to one thread; one process at a time, by a lock beside the database.

    Args:
        path: names the spool (see above); its folder is made where it is missing.
        max_bytes: how large the database may grow; its log takes up to 4 MB more.

    Attributes:
        damaged: records that could not be read back, since opening.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.path = path
        self.damaged = 0
        self._max_pages = max(1, max_bytes // PAGE_BYTES)
        self._place = path.with_name(path.name + ".db")
        self._aside = path.with_name(path.name + ".damaged")
        self._owned = ExitStack()
        self._numbers = deque[int]()

    def open(self) -> None:
        """Raises ConfigError: the spool is in use, or cannot be written."""
        self._owned.enter_context(_locked(self.path.with_name(self.path.name + ".lock")))
        try:
            self._connect()
            self._repairing(self._check)
            self._take_over_lines()
            # Not before: what was there may be larger, and must not be lost.
            self._read(f"PRAGMA max_page_count = {self._max_pages}")
            sync(self.path.parent)
        except _ERRORS as error:
            self.close()
            raise ConfigError(f"cannot use the spool {self.path}: {error}.") from error

    def close(self) -> None:
        """Release the spool. Idempotent."""
        self._owned.close()

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        """How many records wait."""
        return len(self._numbers)

    def append(self, payload: bytes) -> None:
        """Add a record at the end; it is on the disk when this returns.

        Raises:
            SpoolFullError: there is no room; nothing was added.
        """
        try:
            self._repairing(self._add, [payload])
        except _ERRORS as error:
            raise SpoolFullError(
                f"the spool {self.path.name} cannot be written: {error}.", hint="Is Redis running?"
            ) from error

    def peek(self, limit: int) -> list[tuple[int, bytes | None]]:
        """Numbers and payloads of the first records, at most `limit`; None for a damaged payload.

        Raises:
            UnavailableError: the disk cannot be read.
        """
        try:
            return self._repairing(self._first, limit)
        except _ERRORS as error:
            raise UnavailableError(f"{self.path.name} cannot be read: {error}.") from error

    def advance(self, number: int) -> None:
        """Take out the records up to `number`. On a full disk they may come back after a crash."""
        while self._numbers and self._numbers[0] <= number:
            self._numbers.popleft()
        try:
            with self._database:
                self._database.execute("DELETE FROM records WHERE number <= ?", (number,))
        except _ERRORS as error:
            _LOG.warning("sent alarms stay on the disk", spool=self.path.name, reason=str(error))

    # ------------------------------------------------------------ records

    def _add(self, payloads: Iterable[bytes]) -> None:
        [(last,)] = self._read("SELECT max(number) FROM records")
        self._insert([(n, zlib.crc32(p), p) for n, p in enumerate(payloads, (last or 0) + 1)])

    def _insert(self, rows: list[_Row]) -> None:
        with self._database:
            self._database.executemany("INSERT INTO records VALUES (?, ?, ?)", rows)
        self._numbers.extend(number for number, _, _ in rows)

    def _first(self, limit: int) -> list[tuple[int, bytes | None]]:
        numbers = list(islice(self._numbers, limit))
        if not numbers:
            return []
        query = "SELECT * FROM records WHERE number BETWEEN ? AND ?"
        rows = self._read(query, numbers[0], numbers[-1])
        sound = {row[0]: row[2] for row in rows if _is_sound(row)}
        return [(number, sound.get(number)) for number in numbers]

    def _read(self, query: str, *values: int) -> list[Any]:
        return self._database.execute(query, values).fetchall()

    def _take_over_lines(self) -> None:
        """Take over what an earlier version left."""
        lines = read_lines(self.path)
        if lines is None:
            return
        self._add(payload for payload in lines if payload is not None)
        if None in lines:
            os.replace(self.path, self._aside)
            self._tell("lines", lines.count(None))
        else:
            self.path.unlink()

    # ------------------------------------------------------------ the database

    def _connect(self) -> None:
        os.close(os.open(self._place, os.O_RDWR | os.O_CREAT, 0o600))
        log = _log_of(self._place)
        self._log_bytes = log.stat().st_size if log.exists() else 0
        self._database = self._owned.enter_context(closing(_connected(self._place, "rw")))

    def _check(self) -> None:
        """Raises sqlite3.Error where something of the database is not as it was written."""
        self._database.executescript(_SETUP)
        if not self._read("SELECT sql FROM sqlite_schema"):
            self._database.execute(_TABLE)
        [(verdict,)] = self._read("PRAGMA quick_check(1)")
        # SQLite takes from a log what is whole, and says nothing of the rest.
        [(_, frames, _)] = self._read("PRAGMA wal_checkpoint(PASSIVE)")
        whole = _LOG_HEADER_BYTES + frames * (_FRAME_HEADER_BYTES + PAGE_BYTES)
        if self._log_bytes > whole:
            raise sqlite3.DatabaseError("the end of the log is damaged")
        if verdict != b"ok" or self._read("SELECT sql FROM sqlite_schema") != [(_TABLE.encode(),)]:
            raise sqlite3.DatabaseError(f"quick_check says {verdict!r}")
        self._numbers = deque(n for (n,) in self._read("SELECT number FROM records ORDER BY 1"))

    def _repairing(self, work: Callable[[Unpack[_Args]], _T], *args: *_Args) -> _T:
        """Do it; where the database is damaged, again with another one."""
        try:
            return work(*args)
        except _ERRORS as error:
            code = getattr(error, "sqlite_errorcode", 0)
            if isinstance(error, OSError) or code & 0xFF in _DISK_TROUBLE:
                raise
            self._rescue(str(error))
        return work(*args)

    def _rescue(self, reason: str) -> None:
        """Set the database aside, and go on with what can be read of it."""
        log, kept_log = _log_of(self._place), _log_of(self._aside)
        kept_log.unlink(missing_ok=True)
        if log.exists():
            shutil.copyfile(log, kept_log)  # a copy: the connection empties its log when it closes
        self._database.close()
        log.unlink(missing_ok=True)
        os.replace(self._place, self._aside)
        self._tell(reason)
        self._connect()
        self._check()
        self._insert(_readable(self._aside))

    def _tell(self, what: str, count: int = 1) -> None:
        self.damaged += count
        _LOG.error("a spool is damaged", spool=self.path.name, kept=self._aside.name, what=what)


def left_spools(folder: Path) -> list[Path]:
    """The paths of the spools in a folder, of whichever version."""
    found = {path.with_suffix("") for path in folder.glob(f"*{SUFFIX}.db")}
    return sorted(found | set(folder.glob(f"*{SUFFIX}")))


def _locked(path: Path) -> BinaryIO:
    """A lock by a file of its own, which earlier versions take too; closing it releases it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ConfigError(
            f"the spool of {path} is in use by another publisher.",
            hint="Give each publisher a name of its own.",
        ) from error
    except OSError as error:
        raise ConfigError(f"cannot use the spool {path}: {error.strerror}.") from error
    return file


def _connected(place: Path, mode: Literal["ro", "rw"]) -> sqlite3.Connection:
    database = sqlite3.connect(f"{place.absolute().as_uri()}?mode={mode}", uri=True)
    database.text_factory = bytes  # what is damaged may not be UTF-8
    return database


def _log_of(place: Path) -> Path:
    return place.with_name(place.name + "-wal")


def _is_sound(row: tuple[object, ...]) -> bool:
    _, crc, payload = row
    return isinstance(payload, bytes) and crc == zlib.crc32(payload)


def _readable(place: Path) -> list[_Row]:
    """The sound records of a damaged database: those before the damage, and those behind it."""
    rows: dict[int, _Row] = {}
    for order in ("ASC", "DESC"):
        with closing(_connected(place, "ro")) as database, suppress(*_ERRORS):
            for row in database.execute(f"SELECT * FROM records ORDER BY number {order}"):
                if _is_sound(row):
                    rows[row[0]] = row
    place.with_name(place.name + "-shm").unlink(missing_ok=True)
    return [rows[number] for number in sorted(rows)]
