"""What the programs that a test starts connect to.

Python programs only. Servers in Go and native code are told by their configuration whom to call.
"""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path

FOLDER = Path(__file__).parent / "site"
FILE_VARIABLE = "TEST_WITNESS_FILE"


def watched(environment: dict[str, str], file: Path) -> dict[str, str]:
    """`environment` for a program that writes whom it calls to `file`, and its children likewise.

    Without CI, in which some libraries are silent by themselves.
    """
    paths = [str(FOLDER), *filter(None, [environment.get("PYTHONPATH")])]
    kept = {name: value for name, value in environment.items() if name != "CI"}
    return kept | {"PYTHONPATH": os.pathsep.join(paths), FILE_VARIABLE: str(file)}


def strangers(file: Path) -> set[str]:
    """Hosts other than this machine that were called, or whose address was asked for."""
    if not file.exists():
        return set()
    hosts = set(file.read_text(encoding="utf-8").splitlines())
    return {host for host in hosts if not _is_this_machine(host)}


def _is_this_machine(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host in ("", "localhost")
    return address.is_loopback or address.is_unspecified
