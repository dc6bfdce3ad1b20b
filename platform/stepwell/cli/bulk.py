"""`stepwell bulk` and `dead`: the same for many runs, and which runs will not go on."""

import time
import uuid
from typing import Annotated, Any, Literal

import typer

from stepwell.authoring.durations import seconds_of
from stepwell.cli.screen import JsonFlag, say, show_json, show_table, state_text
from stepwell.cli.where import Place, connected
from stepwell.errors import Invalid

Repository = Annotated[str | None, typer.Option("--repo", help="tenant/name; by default this directory's.")]
Tenant = Annotated[str | None, typer.Option("--tenant", help="All repositories of a tenant instead.")]
SHOWN = 20
"""Refusals that a person is shown; --json tells all."""


def bulk(
    action: Annotated[Literal["pause", "resume", "cancel", "terminate", "restart"], typer.Argument()],
    *,
    repository: Repository = None,
    tenant: Tenant = None,
    state: Annotated[list[str] | None, typer.Option(help="Only runs in this state; may be given again.")] = None,
    pipeline: Annotated[str, typer.Option(help="Only runs of this pipeline.")] = "",
    branch: Annotated[str, typer.Option(help="Only runs of this branch.")] = "",
    older_than: Annotated[str, typer.Option(help="Only runs begun longer ago, like '2 days'.")] = "",
    reason: Annotated[str, typer.Option(help="Why; everybody sees it.")] = "",
    undo: Annotated[bool, typer.Option("--undo", help="With cancel: undo what has passed.")] = False,
    step: Annotated[
        str, typer.Option("--from", help="With restart: a step's name or key; else where each ended.")
    ] = "",
    key: Annotated[str, typer.Option(help="With restart: names it; the same again restarts no run twice.")] = "",
    json: JsonFlag = False,
) -> None:
    """Pause, resume, cancel, terminate or restart many runs. Ends with 1 when some refused."""
    until = time.time() - _seconds(older_than) if older_than else None
    body = {
        "states": state or [], "pipeline": pipeline, "branch": branch, "created_until": until, "reason": reason,
        "undo": undo, "step": step, "key": key or uuid.uuid4().hex,
    }  # fmt: skip
    changed: list[dict[str, Any]] = []
    refused: list[dict[str, Any]] = []
    with connected() as (client, place):
        owner, name = _where(place, repository, tenant)
        cursor = None
        while True:
            sent = {**body, "repository": name, "cursor": cursor}
            report = client.post(f"/tenants/{owner}/bulk/{action}", **sent)
            changed += report["changed"]
            refused += report["refused"]
            cursor = report["next"]
            if cursor is None:
                break
    if json:
        show_json({"changed": changed, "refused": refused})
    else:
        runs = "1 run" if len(changed) == 1 else f"{len(changed)} runs"
        say(f"{action}: {runs}, {len(refused)} refused.", "yellow" if refused else "green")
        for one in refused[:SHOWN]:
            say(f"{one['scope']}#{one['number']}: {one['why']}", "yellow")
    if refused:
        raise typer.Exit(1)


def dead(repository: Repository = None, tenant: Tenant = None, json: JsonFlag = False) -> None:
    """List runs that will not go on by themselves, and why."""
    found: list[dict[str, Any]] = []
    with connected() as (client, place):
        owner, name = _where(place, repository, tenant)
        cursor = None
        while True:
            page = client.get(f"/tenants/{owner}/dead-runs", repository=name, cursor=cursor)
            found += page["items"]
            cursor = page["next"]
            if cursor is None:
                break
    if json:
        show_json(found)
        return
    rows = ((f"{one['scope']}#{one['number']}", state_text(one["state"]), one["death"], one["reason"]) for one in found)
    show_table(("RUN", "STATE", "DEATH", "REASON"), rows)


def _where(place: Place, repository: str | None, tenant: str | None) -> tuple[str, str]:
    if tenant is not None:
        if repository is not None:
            raise Invalid(f"--tenant {tenant!r} and --repo {repository!r} were both given. Give one of them.")
        return tenant, ""
    owner, name = place.require_repository(repository).split("/")
    return owner, name


def _seconds(text: str) -> float:
    try:
        return seconds_of(text, "--older-than")
    except ValueError as error:
        raise Invalid(str(error)) from error
