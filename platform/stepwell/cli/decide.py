"""`stepwell approve` and `reject`: answer what a run waits for."""

from typing import Annotated, Any

import typer

from stepwell.cli.runs import Repository, Run
from stepwell.cli.screen import JsonFlag, say, show_json
from stepwell.cli.where import connected, find_run
from stepwell.errors import Conflict, Invalid

Step = Annotated[str | None, typer.Option(help="Which approval, when the run waits for several.")]
Comment = Annotated[str, typer.Option("--comment", "-m", help="A word for the others.")]
Fields = Annotated[
    list[str] | None, typer.Option("--field", "-F", help="A field that the approval asks for, NAME=VALUE.")
]


def approve(
    run: Run = None,
    *,
    repository: Repository = None,
    step: Step = None,
    comment: Comment = "",
    field: Fields = None,
    json: JsonFlag = False,
) -> None:
    """Approve what a run waits for."""
    decision = {"approve": True, "comment": comment, "fields": parse_fields(field or [])}
    _decide(run, repository, step, decision, json)


def reject(
    run: Run = None, *, repository: Repository = None, step: Step = None, comment: Comment = "", json: JsonFlag = False
) -> None:
    """Reject what a run waits for."""
    _decide(run, repository, step, {"approve": False, "comment": comment}, json)


def _decide(run: str | None, repository: str | None, step: str | None, decision: dict[str, Any], json: bool) -> None:
    with connected() as (client, place):
        view = find_run(client, place, run, repository)
        waiting = pick(view, step)
        verdict = client.post(f"/runs/{view['id']}/decisions", key=waiting["key"], **decision).get("verdict")
    if json:
        show_json({"run": view["id"], "step": waiting["key"], "verdict": verdict})
    elif verdict is None:
        say(f"Noted for {waiting['name']!r}; more people have to agree.", "yellow")
    else:
        say(f"{waiting['name']!r} is {verdict}.", "green" if decision["approve"] else "yellow")


def pick(view: dict[str, Any], step: str | None) -> dict[str, Any]:
    """Find the approval that is meant."""
    waiting = [item for item in view["approvals"] if step in (None, item["name"], item["key"])]
    number = view["number"]
    if len(waiting) == 1:
        return dict(waiting[0])
    if not waiting:
        if step is None and view["state"] == "waiting":
            raise Conflict(f"Run #{number} is waiting, but for no approval. `stepwell logs {number}` says for what.")
        raise Conflict(f"Run #{number} is {view['state']} and waits for no {step or 'approval'}.")
    names = ", ".join(repr(item["name"]) for item in waiting)
    raise Invalid(f"Run #{number} waits for several: {names}. Say which with --step.")


def parse_fields(given: list[str], word: str = "Field") -> dict[str, str]:
    """Read NAME=VALUE texts."""
    wrong = next((text for text in given if "=" not in text), None)
    if wrong is not None:
        raise Invalid(f"{word} {wrong!r} has no '='. Write NAME=VALUE.")
    return dict(text.split("=", 1) for text in given)
