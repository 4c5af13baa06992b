"""Starts the local stack and waits to be killed. Run by test_local_stack.

    python owner.py SETTINGS_JSON

Prints `ready` and then one line per process: the pids of everything under it.
"""

from __future__ import annotations

import asyncio
import json
import sys

import psutil

from cluster.core.settings import Settings
from cluster.local.stack import LocalStack


async def main() -> None:
    stack = LocalStack(Settings(**json.loads(sys.argv[1])))
    await stack.start()
    pids = [process.pid for process in psutil.Process().children(recursive=True)]
    sys.stdout.write(json.dumps({"pids": pids}) + "\n")
    sys.stdout.flush()
    await asyncio.sleep(600)


asyncio.run(main())
