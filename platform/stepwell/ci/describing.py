"""Asks code what it declares: imports it in an isolate that sees nothing else, within two seconds."""

import asyncio
import json
from typing import Any, TypeVar

from stepwell.authoring.order import check_priority, group, rate
from stepwell.authoring.triggers import Trigger, cron, manual, push, tag
from stepwell.ci.views import Problem
from stepwell.engine.seams import Code, Isolates, IsolateSpec

SECONDS = 2.0
LONGEST_ANSWER = 1024 * 1024
LONGEST_TEXT = 2000  # characters of a name or doc
MOST_DECLARED = 200  # pipelines, triggers, globs, inputs
T = TypeVar("T")
_KINDS = {
    "SyntaxError": "syntax-error",
    "IndentationError": "syntax-error",
    "TabError": "syntax-error",
    "ImportError": "import-error",
    "ModuleNotFoundError": "import-error",
}


async def describe(
    isolates: Isolates, tenant: str, code: Code, seconds: float = SECONDS, *, outline: bool = False
) -> dict[str, Any] | Problem:
    """Return the isolate's answer `{"pipelines": [...]}`, or the problem. Runs on the engine's loop.

    With `outline` it has `"steps"`, too: those that the text tells. Raises Unavailable or TryLater when there is no
    isolate to be had.
    """
    channel = await isolates.open(IsolateSpec(tenant, "describe", code))
    head = {"mode": "describe", "root": code.root, "files": dict(code.files), "entry": code.entry, "outline": outline}
    try:
        async with asyncio.timeout(seconds):
            line = await _ask(channel.sock, json.dumps(head).encode() + b"\n")
    except TimeoutError:
        text = f"{code.root}/{code.entry} took longer than {seconds:g} s to import. Move work into run() and its steps."
        return Problem("too-slow", text, f"{code.root}/{code.entry}")
    finally:
        channel.kill()
        channel.sock.close()
    if not line.endswith(b"\n"):
        why = await channel.ended()
        text = f"{code.root}/{code.entry} ended its isolate while it was imported: {why}."
        return Problem("error", text, f"{code.root}/{code.entry}")
    return _understood(line)


async def _ask(sock: Any, head: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    sock.setblocking(False)
    try:
        await loop.sock_sendall(sock, head)
        answer = bytearray()
        while not answer.endswith(b"\n") and len(answer) <= LONGEST_ANSWER:
            block = await loop.sock_recv(sock, 65536)
            if not block:
                break
            answer += block
    except ConnectionError:
        return b""
    return bytes(answer)


def _understood(line: bytes) -> dict[str, Any] | Problem:
    """Read an answer of code that nobody vouches for: anything malformed is the code's fault."""
    try:
        answer = json.loads(line)
        if answer["ok"]:
            pipelines = [_pipeline(dict(told)) for told in _few(answer["pipelines"])]
            if "steps" not in answer:
                return {"pipelines": pipelines}
            return {"pipelines": pipelines, "steps": [_step(dict(told)) for told in _few(answer["steps"])]}
        error = answer["error"]
        kind = _KINDS.get(str(error["type"]), "error")
        place = (str(error.get("file") or ""), int(error.get("line") or 0))
        return Problem(kind, _message(error), *place, traceback=str(error.get("traceback") or ""))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return Problem("error", "The pipeline answered something else than what it declares.")


def _pipeline(told: dict[str, Any]) -> dict[str, Any]:
    """Check what a pipeline declares as if it were written here: others' code may say anything, and rows keep it."""
    concurrency = told.get("concurrency")
    if concurrency is not None:
        concurrency = group(concurrency["group"], concurrency["policy"]).as_json()
    limit = told.get("rate_limit")
    if limit is not None:
        limit = rate(limit["runs"], limit["seconds"], key=limit["key"]).as_json()
    order = {
        "concurrency": concurrency,
        "rate_limit": limit,
        "priority": check_priority(told.get("priority", 0)),
    }
    texts = {name: str(told.get(name) or "")[:LONGEST_TEXT] for name in ("name", "entry", "doc")}
    on = [_trigger(trigger).as_json() for trigger in _few(told.get("on") or [])]
    line = told.get("line") or 0
    return {**texts, "line": line if type(line) is int else 0, "on": on, **order}


def _step(told: dict[str, Any]) -> dict[str, Any]:
    texts = {name: str(told[name])[:LONGEST_TEXT] for name in ("kind", "name", "file")}
    secrets = tuple(str(name)[:LONGEST_TEXT] for name in _few(told.get("secrets") or []))
    environment = str(told.get("environment") or "")[:LONGEST_TEXT]
    return {**texts, "line": int(told["line"]), "environment": environment, "secrets": secrets}


def _trigger(told: dict[str, Any]) -> Trigger:
    kind = told["kind"]
    if kind == "push":
        return push(*_few(told.get("branches") or []), paths=_few(told.get("paths") or []))
    if kind == "tag":
        return tag(*_few(told.get("patterns") or []))
    if kind == "cron":
        return cron(told["schedule"], tz=told.get("tz") or "UTC")
    if kind == "manual":
        return manual(**_few(told.get("inputs") or {}))
    raise ValueError(f"there is no trigger {str(kind)[:40]!r}")


def _few(told: T) -> T:
    """Refuse what is no list or object, or too long a one."""
    if not isinstance(told, list | dict) or len(told) > MOST_DECLARED:
        raise ValueError("more than a pipeline declares")
    return told


def _message(error: Any) -> str:
    name, text = str(error["type"]), str(error["message"])
    return text if name in {"PipelineRefused", ""} else f"{name}: {text}"
