"""`atalaia redis`: what each kind of process may do in Redis."""

from __future__ import annotations

import sys

import typer

from cluster.cli.common import Commands, settings

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    help="Users of the configured Redis.",
    epilog="Example: atalaia redis acl",
)


@app.command("acl", epilog="Example: atalaia redis acl")
def acl() -> None:
    """Print an `aclfile` for Redis or Valkey: a user for each kind of process that may do what it
    needs and nothing else, and `default` with the password of redis.url.

    The passwords are those of redis.passwords; the file holds their hashes.
    """
    from cluster.stores.bus.access import acl_file

    chosen = settings()
    sys.stdout.write(acl_file(chosen.redis_url, chosen.redis.passwords))
