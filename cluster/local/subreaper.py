"""Runs one server so that no process of it outlives its owner. A script; standard library only.

    python -I -S subreaper.py OWNER_PID GRACE_S -- ARGV...

Why an intermediate process: PR_SET_PDEATHSIG alone reaches the server but not its children, and it
fires when the *thread* that forked ends. The subreaper watches the owner's process through a pidfd,
adopts every orphaned descendant of the server, and kills that tree before it exits. If the
subreaper itself is killed, PR_SET_PDEATHSIG ends the server; the subreaper has only one thread.

Exit code: the server's, or 128 + signal number; 127 if the server could not be executed.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import time
from collections.abc import Iterator

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
LINUX = sys.platform == "linux"

# Polling interval for the parent where there is no pidfd (macOS, old kernels).
OWNER_POLL_S = 0.5
# SIGKILL takes effect within milliseconds; longer means a process stuck in the kernel.
KILL_DEADLINE_S = 5.0
KILL_POLL_S = 0.02
"""Between two checks of what is left of the process tree."""


def prctl(option: int, value: int) -> None:
    """Set one attribute of this process; a no-op on systems without prctl. Raises OSError."""
    if LINUX and ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl failed")


def descendants(root: int) -> list[int]:
    """Every process below `root`, children before grandchildren; empty without /proc."""
    children: dict[int, list[int]] = {}
    for pid, parent in _processes():
        children.setdefault(parent, []).append(pid)
    found: list[int] = []
    queue = [root]
    while queue:
        below = children.get(queue.pop(0), [])
        found += below
        queue += below
    return found


def _processes() -> Iterator[tuple[int, int]]:
    if not os.path.isdir("/proc"):
        return
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                stat = file.read()
        except OSError:
            continue  # it ended meanwhile
        # The command's name is in parentheses and may contain anything.
        yield int(name), int(stat[stat.rindex(b")") + 1 :].split()[1])


def execute(argv: list[str], subreaper: int) -> None:
    """Replace this process with the server. Runs in the forked child; never returns."""
    try:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != subreaper:  # the subreaper died before the line above took effect
            os._exit(1)
        for number in (
            signal.SIGTERM,
            signal.SIGINT,
            signal.SIGHUP,
            signal.SIGCHLD,
            signal.SIGPIPE,
        ):
            signal.signal(number, signal.SIG_DFL)
        os.execvp(argv[0], argv)
    except OSError as error:
        os.write(2, f"cannot execute {argv[0]}: {error.strerror}\n".encode())
    os._exit(127)


class Subreaper:
    """Runs one server for as long as its owner lives.

    Args:
        owner: process id; when that process ends, the server is stopped.
        grace_s: seconds between SIGTERM and SIGKILL.
        argv: the server's command line.
    """

    def __init__(self, owner: int, grace_s: float, argv: list[str]) -> None:
        self._owner = owner
        self._grace_s = grace_s
        self._argv = argv
        self._server = 0
        self._status: int | None = None
        self._deadline: float | None = None
        self._stop_requested = False

    def run(self) -> int:
        """Start the server and return its exit code once it and its descendants are gone."""
        woken = self._catch_signals()
        owner = self._watch_owner()
        if os.getppid() != self._owner:
            return 0  # the owner has already died
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        me = os.getpid()
        self._server = os.fork()
        if self._server == 0:
            execute(self._argv, me)
        while self._status is None:
            self._wait(woken, owner)
            self._reap()
            if self._stop_requested or os.getppid() != self._owner:
                self._begin_stop()
            if self._deadline is not None and time.monotonic() > self._deadline:
                break
        self._kill_remaining()
        return self._exit_code()

    def _catch_signals(self) -> int:
        reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._request_stop)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        return reader

    def _request_stop(self, *_: object) -> None:
        self._stop_requested = True

    def _watch_owner(self) -> int | None:
        try:
            return os.pidfd_open(self._owner)
        except (AttributeError, OSError):
            return None

    def _wait(self, woken: int, owner: int | None) -> None:
        """Wait for a signal, the owner's end, or the deadline."""
        watched = [woken] if owner is None or self._deadline is not None else [woken, owner]
        timeout = OWNER_POLL_S if owner is None or self._deadline is not None else None
        ready, _, _ = select.select(watched, [], [], timeout)
        if woken in ready:
            os.read(woken, 4096)

    def _begin_stop(self) -> None:
        if self._deadline is None:
            self._deadline = time.monotonic() + self._grace_s
            os.kill(self._server, signal.SIGTERM)

    def _reap(self) -> None:
        """Reap every ended child: the server and its orphans."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._server:
                self._status = status

    def _kill_remaining(self) -> None:
        """Kill and reap the remaining processes of the tree."""
        deadline = time.monotonic() + KILL_DEADLINE_S
        while time.monotonic() < deadline:
            left = descendants(os.getpid()) if LINUX else [self._server] * (self._status is None)
            if not left:
                return
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            time.sleep(KILL_POLL_S)
            self._reap()

    def _exit_code(self) -> int:
        if self._status is None:
            return 128 + signal.SIGKILL
        code = os.waitstatus_to_exitcode(self._status)
        return code if code >= 0 else 128 - code


def main(arguments: list[str]) -> int:
    """Parse `OWNER_PID GRACE_S -- ARGV...` and run that server."""
    owner, grace_s, separator, *argv = arguments
    if separator != "--" or not argv:
        os.write(2, b"usage: subreaper.py OWNER_PID GRACE_S -- ARGV...\n")
        return 2
    return Subreaper(int(owner), float(grace_s), argv).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
