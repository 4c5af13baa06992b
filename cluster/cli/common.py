"""Shared by all commands: settings, consoles, and the presentation of errors."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperGroup

from cluster.core.files import read_json
from cluster.core.log import configure_logging, redact
from cluster.core.settings import CONFIG_VARIABLE, POD_VARIABLE, Settings, load_settings
from cluster.local.stack import STATE_FILE, running_owner
from pipelines.errors import AtalaiaError, ConfigError, InputError, UnavailableError

EXIT_FAILURE = 1
EXIT_WRONG_INPUT = 2
PIPE_COLUMNS = 240
"""Table width without a terminal: fits the widest rows without wrapping."""


def out() -> Console:
    """The console for a command's result, which goes into pipes and files unchanged."""
    # A pipe has no width, and 80 columns would truncate the output.
    width = None if sys.stdout.isatty() else PIPE_COLUMNS
    return Console(highlight=False, soft_wrap=True, width=width)


def err() -> Console:
    """The console for messages to the user."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def show_error(error: AtalaiaError, console: Console | None = None) -> None:
    """Print the message and the hint of an error. Never a stack trace or a credential."""
    console = console or err()
    console.print(Text.assemble(("error: ", "bold red"), redact(error.message).rstrip()))
    if error.hint:
        console.print(Text(redact(error.hint).strip(), style="yellow"))


def exit_code(error: AtalaiaError) -> int:
    """2 if the caller must change something, 1 if something failed."""
    return EXIT_WRONG_INPUT if isinstance(error, InputError | ConfigError) else EXIT_FAILURE


class Commands(TyperGroup):
    """A command group that prints AtalaiaError and exits with its code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except AtalaiaError as error:
            show_error(error)
            if isinstance(error, UnavailableError):
                _show_starting()
            raise typer.Exit(exit_code(error)) from None


def _show_starting() -> None:
    """Say so if Atalaia may not be ready yet: what a command needs is made while it starts."""
    try:
        owner = running_owner(load_settings())
    except AtalaiaError:
        return  # the error that was shown is about something else
    if owner is not None:
        err().print(Text(starting_hint(owner), style="yellow"))


def starting_hint(owner: int) -> str:
    """What to do while Atalaia starts. Args: `owner`: its process id."""
    return (
        f"Atalaia is running with this data folder (process {owner}). If it is still starting, wait"
        " until it says `ready`, then try again."
    )


def use_config(path: Path | None) -> None:
    """Use this settings file in this process and in every process that it starts."""
    if path is not None:
        os.environ[CONFIG_VARIABLE] = str(path.resolve())


def use_pod(pod: str | None) -> None:
    """Be this pod in this process and in every process that it starts."""
    if pod is not None:
        os.environ[POD_VARIABLE] = pod


def settings() -> Settings:
    """The settings of this command, which logs to stderr as they say. Raises ConfigError."""
    chosen = load_settings()
    configure_logging(chosen.log, for_good=False)
    return chosen


def running_api(settings: Settings) -> str:
    """URL of the API: the configured one, else that of the instance on this machine."""
    if settings.api.url is None and running_owner(settings) is not None:
        state = read_json(settings.run_dir / STATE_FILE) or {}
        return str(state.get("api") or settings.api_url)
    return settings.api_url
