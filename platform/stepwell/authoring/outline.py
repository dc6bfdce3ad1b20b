"""The steps that a program will ask, as far as its text tells: calls of `step.…` with their names and lines.

A list to look at before anything runs. Loops, conditions and names put together at run time make it incomplete, which
is why nothing but people's eyes may rely on it.
"""

import ast
from collections.abc import Iterator, Mapping
from typing import Any

from stepwell.authoring.step import CALLS

MOST = 200
"""Steps that are told."""


def outline(files: Mapping[str, str]) -> list[dict[str, Any]]:
    """List {kind, name, file, line} in the order of the texts. Raises SyntaxError for a file that is no Python."""
    found = [
        {"kind": kind, "name": name, "file": path, "line": line}
        for path, text in sorted(files.items())
        if path.endswith(".py")
        for line, kind, name in sorted(_calls(ast.parse(text, path)))
    ]
    return found[:MOST]


def _calls(tree: ast.Module) -> Iterator[tuple[int, str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CALLS:
            owner = node.func.value
            if isinstance(owner, ast.Name) and owner.id == "step":
                yield node.lineno, node.func.attr, _name(node.args[0]) if node.args else ""


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)[:MOST]
    if isinstance(node, ast.JoinedStr):
        parts = (part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
        return "".join(str(part) for part in parts)[:MOST]
    return "…"
