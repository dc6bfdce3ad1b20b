"""`stepwell plan`: have the server run a program that is in no repository."""

import json as jsonlib
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from stepwell.cli.screen import JsonFlag, console, end_with, say, show_json, show_table, tell
from stepwell.cli.where import connected
from stepwell.errors import Invalid

ENTRY = "pipeline.py"


def plan(
    file: Annotated[str, typer.Argument(help="Text of a program, a folder with a pipeline.py, or - for stdin.")],
    *,
    event: Annotated[str, typer.Option(help="JSON that the code finds in event.payload.")] = "null",
    pipeline: Annotated[str | None, typer.Option(help="Its class, where there are several.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Whose run it is, for members of several tenants.")] = None,
    repository: Annotated[str | None, typer.Option("--repo", help="tenant/name whose files the workspace has.")] = None,
    ref: Annotated[str | None, typer.Option(help="Branch, tag or commit of it.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Look it through only; start nothing.")] = False,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Do not wait for its end.")] = False,
    json: JsonFlag = False,
) -> None:
    """Run a program on the server without committing it. Ends with the run's state as exit code."""
    from stepwell.cli.follow import Follower
    from stepwell.cli.runs import OverHttp, waits

    code, payload = read(file), _payload(event)
    with connected() as (client, place):
        if check:
            _show(client.post("/plans/check", code=code, tenant=tenant), json=json)
            return
        started = client.post(
            "/plans", code=code, event=payload, pipeline=pipeline, tenant=tenant, repository=repository, ref=ref
        )
        address = f"{place.login.url}{started['url']}"
        if detach:
            show_json(started) if json else tell(address)
            return
        say(f"Run #{started['number']}: {address}", "dim")
        source = OverHttp(client, started["id"])
        view = Follower(source, console(stderr=json)).until(waits)
        for waiting in view["approvals"]:
            say(f"waits for {waiting['name']!r}: {address}", "yellow")
    if json:
        show_json({name: view[name] for name in ("id", "number", "state", "result", "error", "url")})
    end_with(view["state"])


def read(file: str) -> dict[str, str]:
    """The program as texts by path. Raises Invalid for what cannot be read."""
    try:
        if file == "-":
            return {ENTRY: sys.stdin.read()}
        path = Path(file)
        if not path.is_dir():
            return {ENTRY: path.read_text("utf-8")}
        return {one.relative_to(path).as_posix(): one.read_text("utf-8") for one in sorted(path.rglob("*.py"))}
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(f"The plan {file!r} cannot be read: {error}.") from error


def _payload(text: str) -> Any:
    try:
        return jsonlib.loads(text)
    except ValueError as error:
        raise Invalid(
            f"--event has value {text[:60]!r}, which is no JSON: {error}. Write it like '{{\"n\": 3}}'."
        ) from error


def _show(found: dict[str, Any], *, json: bool) -> None:
    if json:
        show_json(found)
    elif found["problem"]:
        say(f"✗ {found['problem']['text']}", "red")
    else:
        rows = [
            (step["kind"], step["name"], f"{step['file']}:{step['line']}", ", ".join(_asks(step)))
            for step in found["steps"]
        ]
        show_table(("STEP", "NAME", "LINE", "ASKS FOR"), rows)
    if found["problem"]:
        raise typer.Exit(1)


def _asks(step: dict[str, Any]) -> list[str]:
    environment = [f"environment {step['environment']}"] if step["environment"] else []
    return [*environment, *(f"secret {name}" for name in step["secrets"])]
