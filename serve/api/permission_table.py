"""The table of roles and permissions in docs/api.md, made of the code:

python -m serve.api.permission_table docs/api.md
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from cluster.core.roles import GRANTS, Permission, grants
from pipelines.errors import InputError
from serve.api.permissions import permission_of

BEGIN = "<!-- made by serve/api/permission_table.py -->"
END = "<!-- end -->"


def permission_table(routes: Iterable[BaseRoute]) -> str:
    """A row per permission, with its routes, as Markdown."""
    opened: dict[Permission, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for route in routes:
        if isinstance(route, APIRoute) and (permission := permission_of(route)) is not None:
            opened[permission][route.path_format] += sorted(route.methods or ())
    lines = [
        f"| permission | {' | '.join(GRANTS)} | routes |",
        f"|---|{'---|' * len(GRANTS)}---|",
    ]
    for permission in Permission:
        marks = " | ".join("yes" if grants(role, permission) else "" for role in GRANTS)
        where = ", ".join(f"`{' '.join(how)} {path}`" for path, how in opened[permission].items())
        lines.append(f"| `{permission}` | {marks} | {where} |")
    return "\n".join(lines)


def with_table(text: str, table: str) -> str:
    """A document with the table between its two marks. Raises InputError: it lacks the marks."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise InputError(f"the document has no {BEGIN} and {END}.")
    return f"{before}{begin}\n{table}\n{end}{after}"


def main(path: Path) -> None:
    """Write the table into a document."""
    from serve.api.app import ROUTERS

    table = permission_table([route for module in ROUTERS for route in module.router.routes])
    path.write_text(with_table(path.read_text(encoding="utf-8"), table), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
