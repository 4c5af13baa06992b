"""Runs at the start of every Python program that has this folder on its path."""

import os
import sys

_FILE = os.environ.get("TEST_WITNESS_FILE")


def _witness(event: str, arguments: tuple[object, ...]) -> None:
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event in ("socket.connect", "socket.sendto") and isinstance(arguments[1], tuple):
        host = arguments[1][0]  # a tuple is host and port; anything else is a socket of files
    else:
        return
    # None asks for an address to listen on.
    text = host.decode() if isinstance(host, bytes) else str(host or "")
    with open(str(_FILE), "a", encoding="utf-8") as file:
        file.write(text + "\n")


if _FILE:
    sys.addaudithook(_witness)
