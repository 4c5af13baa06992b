"""Finds secrets of a file that are weak, used twice, readable by others or committed.

No finding shows a secret, and none goes into the arguments of a program, which others can see.
"""

from __future__ import annotations

import os
import stat
import subprocess
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from cluster.local.doctor import Finding, Level
from cluster.local.secret_file import secrets_in

SHORTEST = 16
"""Characters of a password, which takes a server to try."""
SHORTEST_KEY = 32
"""Characters of what signs or encrypts, which can be tried without one (HMAC-SHA256)."""
DISTINCT = 8
"""Fewer different characters are a pattern: 32 random hexadecimal ones have 14 on average."""
WORDS = ("changeme", "change-me", "password", "secret", "example", "12345678", "qwerty")
"""A random secret of 43 characters has one of them once in some ten million."""
SHORTEST_SOUGHT = 8
"""Characters of a secret that is looked for in files; a shorter one is found anywhere."""
GIT_TIMEOUT_S = 60.0
MAX_SHOWN = 5

_KEYS = ("SECRET", "ENCRYPTION_KEY", "DECRYPTION_KEYS", "AUTH__KEYS", "WORK_KEYS", "FORMER_SECRETS")
_MAKE = "`atalaia secrets rotate` makes another one."


def examine_secrets(path: Path, values: Mapping[str, str], *, history: bool) -> list[Finding]:
    """All checks of the file `path` with these values.

    Args:
        history: also look at every commit of the repository around it, which may take minutes.
    """
    found = secrets_in(values)
    checks = (_weak(found), _reused(found), _permissions(path), _committed(path, found, history))
    return [finding for check in checks for finding in check]


def _result(name: str, problems: list[str], remedy: str, good: str) -> Finding:
    if not problems:
        return Finding(name, Level.OK, good)
    return Finding(name, Level.FAILURE, "; ".join(problems), remedy)


def _weak(found: Mapping[str, str]) -> Iterator[Finding]:
    weak = [f"{name} {why}" for name, secret in found.items() if (why := weakness(name, secret))]
    yield _result("weak", weak, _MAKE, f"none of {len(found)}")


def weakness(name: str, secret: str) -> str:
    """Why a secret is weak; empty: it is not."""
    key = any(part in name and "ACCESS" not in name for part in _KEYS)
    shortest = SHORTEST_KEY if key else SHORTEST
    if len(secret) < shortest:
        return f"has {len(secret)} characters, and should have {shortest}"
    if len(set(secret)) < DISTINCT:
        return "is a pattern"
    if any(word in secret.lower() for word in WORDS):
        return "has a word that everybody tries"
    return ""


def _reused(found: Mapping[str, str]) -> Iterator[Finding]:
    uses: defaultdict[str, list[str]] = defaultdict(list)
    for name, secret in found.items():
        uses[secret].append(name)
    reused = [" = ".join(names) for names in uses.values() if len(names) > 1]
    remedy = f"Each its own: one that leaks opens nothing else. {_MAKE}"
    yield _result("reused", reused, remedy, "none")


def _permissions(path: Path) -> Iterator[Finding]:
    mode, above = path.stat().st_mode, path.parent.stat().st_mode
    open_to = []
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        open_to.append(f"{path} has mode {stat.S_IMODE(mode):04o}: others can read or change it")
    if above & stat.S_IWOTH and not above & stat.S_ISVTX:
        open_to.append(f"everybody can put another file in its place in {path.parent}")
    yield _result("permissions", open_to, f"chmod 600 {path}", "its owner's alone")


def _committed(path: Path, found: Mapping[str, str], history: bool) -> Iterator[Finding]:
    root = _git(path.parent, "rev-parse", "--show-toplevel")
    if root is None:
        yield Finding("committed", Level.OK, "not in a git repository")
        return
    top = Path(root.decode().strip())
    problems = []
    if _git(path.parent, "ls-files", "--error-unmatch", "--", path.name) is not None:
        problems.append(f"git tracks {path}")
    elif _git(path.parent, "check-ignore", "--quiet", "--", path.name) is None:
        problems.append(f"git does not ignore {path}: it will be committed one day")
    sought = {name: s for name, s in found.items() if len(s) >= SHORTEST_SOUGHT}
    for name, secret in sought.items():
        problems += [f"{name} stands in {place}" for place in _tracked(top, secret)]
    if history:
        problems += _in_commits(top, sought)
    remedy = "Replace what was committed: all who have a copy know it. Add the file to .gitignore."
    good = "in no commit" if history else "in no tracked file"
    yield _result("committed", problems, remedy, good)


def _tracked(top: Path, secret: str) -> list[str]:
    # The pattern comes by stdin.
    arguments = ("grep", "--cached", "-I", "-l", "-F", "-f", "-")
    found = _git(top, *arguments, given=secret.encode() + b"\n")
    return [] if found is None else found.decode(errors="replace").splitlines()[:MAX_SHOWN]


def _in_commits(top: Path, sought: Mapping[str, str]) -> list[str]:
    """Where each secret was first met, newest commit first; read as a stream."""
    arguments = ("log", "--all", "-p", "--no-color", "--no-ext-diff", "--no-textconv")
    left = {name: secret.encode() for name, secret in sought.items()}
    found, commit = [], "?"
    with subprocess.Popen(
        ["git", "-C", str(top), *arguments, "--format=commit %h"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=_environment(),
    ) as log:
        assert log.stdout is not None
        for line in log.stdout:
            if line.startswith(b"commit "):
                commit = line[7:].decode(errors="replace").strip()
            for name in [name for name, secret in left.items() if secret in line]:
                found.append(f"{name} stands in commit {commit}")
                del left[name]
    return found


def _git(folder: Path, *arguments: str, given: bytes = b"") -> bytes | None:
    """What git prints; None: it says no, or is not here, or took too long."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            input=given,
            capture_output=True,
            timeout=GIT_TIMEOUT_S,
            check=False,
            env=_environment(),
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _environment() -> dict[str, str]:
    """Ours, without what would lead git to another repository, as inside of its hooks."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return kept | {"LC_ALL": "C"}
