"""The steps that a program will ask, as far as its text tells: calls of `step.…` with their names and lines.

A list to look at before anything runs. Loops, conditions and names put together at run time make it incomplete, which
is why nothing but people's eyes may rely on it.
"""

import ast
from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

from stepwell.authoring.step import CALLS

MOST = 200
"""Steps that are told."""


def outline(files: Mapping[str, str]) -> list[dict[str, Any]]:
    """List {kind, name, file, line, environment, secrets} in the order of the texts.

    Raises SyntaxError for a file that is no Python.
    """
    found = [
        {"kind": call.func.attr, "name": _name(call.args[0]) if call.args else "", "file": path, "line": call.lineno}
        | _rights(call)
        for path, text in sorted(files.items())
        if path.endswith(".py")
        for call in sorted(_calls(ast.parse(text, path)), key=lambda call: (call.lineno, call.col_offset))
        if isinstance(call.func, ast.Attribute)
    ]
    return found[:MOST]


def _calls(tree: ast.Module) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CALLS:
            owner = node.func.value
            if isinstance(owner, ast.Name) and owner.id == "step":
                yield node


def _rights(call: ast.Call) -> dict[str, Any]:
    """What the step asks for beyond its workspace, where the text tells it."""
    options = {one.arg: one.value for one in call.keywords}
    environment, secrets = options.get("environment"), options.get("secrets")
    named: list[ast.expr] = []
    if isinstance(secrets, ast.List | ast.Tuple):
        named = secrets.elts
    elif isinstance(secrets, ast.Dict):
        named = [value.values[0] if isinstance(value, ast.Dict) and value.values else value for value in secrets.values]
    return {
        "environment": environment.value if _is_text(environment) else "",
        "secrets": [one.value for one in named if _is_text(one)][:MOST],
    }


def _is_text(node: ast.expr | None) -> TypeGuard[ast.Constant]:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)[:MOST]
    if isinstance(node, ast.JoinedStr):
        parts = (part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
        return "".join(str(part) for part in parts)[:MOST]
    return "…"
