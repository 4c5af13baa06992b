"""The command line's root."""

from __future__ import annotations

import asyncio
import json
import os
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import structlog
import typer

from cluster.cli import (
    access,
    audit,
    camera_check,
    cameras,
    coverage,
    database,
    erasures,
    exports,
    footage,
    groups,
    jobs,
    model,
    recordings,
    shell,
    status,
    tenant_export,
    tenant_move,
    up,
    users,
)
from cluster.cli import redis as redis_command
from cluster.cli import relay as relay_command
from cluster.cli import secrets as secrets_command
from cluster.cli.common import EXIT_FAILURE, Commands, err, out, settings, use_config, use_pod
from cluster.cli.findings import show_findings
from cluster.core.settings import CONFIG_VARIABLE, POD_VARIABLE
from cluster.local.binaries import build_all
from cluster.local.doctor import Level, examine
from cluster.local.production_checks import examine_production

app = typer.Typer(
    name="atalaia",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Many cameras become live rooms, detections, alarms and searchable memory.",
    epilog="Start with: atalaia demo",
)
cameras.app.add_typer(camera_check.app)
app.add_typer(cameras.app, name="camera")
app.add_typer(jobs.app, name="jobs")
recordings.app.add_typer(exports.app)
recordings.app.add_typer(footage.app)
app.add_typer(recordings.app, name="recordings")
app.add_typer(model.app, name="model")
access.tenants.add_typer(tenant_export.app)
access.tenants.add_typer(tenant_move.app)
app.add_typer(access.tenants, name="tenant")
app.add_typer(access.keys, name="key")
app.add_typer(users.app, name="user")
app.add_typer(groups.app, name="group")
app.add_typer(audit.app, name="audit")
app.add_typer(erasures.app, name="erasure")
app.add_typer(database.app, name="database")
app.add_typer(redis_command.app, name="redis")
app.add_typer(secrets_command.app, name="secrets")
app.command(epilog="Example: atalaia demo --camera rtsp://192.0.2.10/stream1")(up.demo)
app.command(epilog="Example: atalaia -c configs/local.yaml up")(up.up)
app.command(epilog="Example: atalaia -c configs/production.yaml relay")(relay_command.relay)
app.command(epilog="Example: atalaia status --json")(status.status)
app.command(epilog="Example: atalaia coverage gate --hours 24")(coverage.coverage)
app.command(epilog="Example: atalaia env")(shell.env)
app.command(epilog="Example: atalaia migrate")(access.migrate)


def _show_version(wanted: bool) -> None:
    if wanted:
        out().print(f"atalaia {version('atalaia')}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", envvar=CONFIG_VARIABLE, help="Settings file (YAML)."),
    ] = None,
    pod: Annotated[
        str | None,
        typer.Option("--pod", envvar=POD_VARIABLE, help="Which of the settings' `pods` this is."),
    ] = None,
    _version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    context.call_on_close(partial(structlog.configure, **structlog.get_config()))
    use_config(config)
    use_pod(pod)


@app.command(epilog="Example: atalaia servers")
def servers() -> None:
    """Find livekit-server and go2rtc, or build them with Go."""
    console = err()
    chosen = settings()
    found = asyncio.run(
        build_all(chosen.data_dir.resolve(), lambda text: console.print(text, style="dim"))
    )
    for name, path in found.items():
        out().print(f"{name}: {path}", markup=False)


@app.command(epilog="Example: atalaia doctor --json")
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    production: Annotated[
        bool, typer.Option("--production", help="Also check the settings for use as a cluster.")
    ] = False,
) -> None:
    """Check this machine and say how to fix problems. Exit code 1 if any must be fixed."""
    chosen = settings()
    findings = examine(chosen)
    if production:
        findings += examine_production(chosen, os.environ)
    if as_json:
        out().print(json.dumps([finding.as_dict() for finding in findings], indent=2), markup=False)
    else:
        show_findings(findings)
    if any(finding.level is Level.FAILURE for finding in findings):
        raise typer.Exit(EXIT_FAILURE)


def main() -> None:
    """Entry point of the console script `atalaia`."""
    app()
