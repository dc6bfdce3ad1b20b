"""Calls of `step` that do not exist, found in the text before anything runs.

Only what is certain: `step` is the parameter of a pipeline's own `run`, nothing in it has another meaning for that
name, and the call is in no `try`, where the code may count on the failure.
"""

import ast
from collections.abc import Iterator, Mapping

from stepwell.authoring.step import CALLS


def unknown_call(files: Mapping[str, str]) -> tuple[str, int, str] | None:
    """Give path, line and name of the first call that `step` does not have."""
    for path, text in sorted(files.items()):
        if not path.endswith(".py"):
            continue
        found = [call for run in _runs(ast.parse(text, path)) for call in _unknown(run)]
        if found:
            line, name = min(found)
            return path, line, name
    return None


def _runs(tree: ast.Module) -> Iterator[ast.AsyncFunctionDef]:
    """Yield the `run` of each class that is a pipeline by its text."""
    ours = any(
        isinstance(node, ast.ImportFrom) and node.module == "stepwell"
        and any(one.name == "Pipeline" and one.asname is None for one in node.names)
        for node in tree.body
    )  # fmt: skip
    for node in tree.body if ours else ():
        if isinstance(node, ast.ClassDef) and any(isinstance(b, ast.Name) and b.id == "Pipeline" for b in node.bases):
            for one in node.body:
                if isinstance(one, ast.AsyncFunctionDef) and one.name == "run" and not one.decorator_list:
                    yield one


def _unknown(run: ast.AsyncFunctionDef) -> list[tuple[int, str]]:
    parameters = [*run.args.posonlyargs, *run.args.args]
    if len(parameters) != 3:
        return []
    step = parameters[2].arg
    nodes = [node for part in run.body for node in ast.walk(part)]
    if any(step in _bound(node) for node in nodes):
        return []
    tried = {id(node) for node in nodes if isinstance(node, ast.Try | ast.TryStar) for node in ast.walk(node)}
    return [
        (node.lineno, node.func.attr)
        for node in nodes
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and id(node) not in tried
        and isinstance(node.func.value, ast.Name) and node.func.value.id == step
        and not node.func.attr.startswith("_") and node.func.attr not in CALLS
    ]  # fmt: skip


def _bound(node: ast.AST) -> tuple[str | None, ...]:
    """The names to which a node gives a meaning."""
    match node:
        case (
            ast.Name(id=name, ctx=ast.Store() | ast.Del()) | ast.arg(arg=name)
            | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name)
            | ast.ExceptHandler(name=name) | ast.MatchAs(name=name) | ast.MatchStar(name=name)
            | ast.MatchMapping(rest=name)
        ):  # fmt: skip
            return (name,)
        case ast.alias(name=name, asname=other):
            return (other or name.partition(".")[0],)
        case ast.Global(names=names) | ast.Nonlocal(names=names):
            return tuple(names)
    return ()
