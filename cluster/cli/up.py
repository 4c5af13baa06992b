"""`atalaia up` and `atalaia demo`: everything on this machine, in the foreground."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from cluster.cli.api import PLATFORM, camera_lines
from cluster.cli.common import settings
from cluster.cli.foreground import run_session
from cluster.cli.view import RunView
from cluster.core.log import configure_logging

if TYPE_CHECKING:
    from cluster.cli.sessions import ForegroundDemo, UpAccess, UpSession
    from cluster.demo.session import DemoAccess

LOG_FILE = "atalaia.log"


def up(
    address: Annotated[
        str | None,
        typer.Option("--address", help="A running Ray cluster: host:port, or auto."),
    ] = None,
) -> None:
    """Start Atalaia on this machine and stay in the foreground.

    Uses the servers whose addresses are in the settings and starts the others.
    """
    chosen = settings()
    if address is not None:
        ray = chosen.ray.model_copy(update={"address": address})
        chosen = chosen.model_copy(update={"ray": ray})
    configure_logging(chosen.log)

    def make(view: RunView) -> UpSession:
        from cluster.cli.sessions import UpSession

        return UpSession(chosen, on_event=view.event, on_step=view.step)

    def describe(access: UpAccess) -> Iterable[tuple[str, str]]:
        yield "Dashboard", access.api
        yield "API docs", f"{access.api}/docs"
        if not access.has_keys:
            yield "No key yet", "atalaia tenant create ID, then atalaia key create ID"
        yield "Logs", str(chosen.log_dir)

    code = asyncio.run(
        run_session(make, describe=describe, cameras=None, log_path=chosen.log_dir / LOG_FILE)
    )
    raise typer.Exit(code)


def demo(
    camera: Annotated[
        str | None,
        typer.Option("--camera", help="URL of your own camera; it is added to tenant acme."),
    ] = None,
) -> None:
    """Start everything with the demo cameras of two tenants, and stay in the foreground."""
    chosen = settings()
    configure_logging(chosen.log)

    def make(view: RunView) -> ForegroundDemo:
        from cluster.cli.sessions import ForegroundDemo
        from cluster.demo.session import DemoSession

        session = DemoSession(
            chosen, own_url=camera or None, on_event=view.event, on_step=view.step
        )
        return ForegroundDemo(session)

    def describe(access: DemoAccess) -> Iterable[tuple[str, str]]:
        yield "Dashboard", access.api
        for tenant, users in access.users.items():
            admin = users["admin"]
            yield (
                f"Admin of {tenant}",
                (f"tenant {tenant}, e-mail {admin['email']}, password {admin['password']}"),
            )
        for owner, key in access.keys.items():
            yield f"Key of {owner}", key
        yield "API docs", f"{access.api}/docs"
        yield "For programs", str(chosen.run_dir / "demo.json")

    code = asyncio.run(
        run_session(
            make,
            describe=describe,
            cameras=lambda access: camera_lines(
                access.api, {name: key for name, key in access.keys.items() if name != PLATFORM}
            ),
            log_path=chosen.log_dir / LOG_FILE,
        )
    )
    raise typer.Exit(code)
