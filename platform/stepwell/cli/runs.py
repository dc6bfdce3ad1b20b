"""`stepwell runs` and `logs`: what happens on the server."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from stepwell.cli.screen import JsonFlag, console, end_with, say, show_json, show_table, state_text
from stepwell.cli.where import FINISHED, Pages, connected, find_run, whole
from stepwell.errors import NotFound

Run = Annotated[
    str | None, typer.Argument(help="12, acme/api#12, the page's address or the id; by default the newest.")
]
Repository = Annotated[str | None, typer.Option("--repo", help="tenant/name; by default this directory's.")]


def runs(
    repository: Repository = None,
    everywhere: Annotated[bool, typer.Option("--all", help="Of all repositories that you may see.")] = False,
    state: Annotated[str | None, typer.Option(help="Only runs in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 20,
    json: JsonFlag = False,
) -> None:
    """List runs, newest first."""
    with connected() as (client, place):
        tenant = name = None
        if not everywhere:
            tenant, name = place.require_repository(repository).split("/")
        found = client.get("/runs", tenant=tenant, repository=name, state=state, limit=limit)["items"]
    if json:
        show_json(found)
        return
    rows = (
        (f"{run['tenant']}/{run['repository']}#{run['number']}", state_text(run["state"]), run["pipeline"],
         run["kind"], run["branch"] or run["tag"], run["sha"][:8], run["message"])
        for run in found
    )  # fmt: skip
    show_table(("RUN", "STATE", "PIPELINE", "EVENT", "BRANCH", "COMMIT", "MESSAGE"), rows)


class OverHttp:
    """A run's source for `follow`."""

    def __init__(self, client: Any, run: str) -> None:
        self._client = client
        self._run = run
        self._over: Pages = {}

    def view(self) -> dict[str, Any]:
        return whole(self._client, self._client.get(f"/runs/{self._run}"), self._over)

    def log(self, key: str, offset: int, attempt: int | None = None) -> bytes:
        return bytes(self._client.log(self._run, key, offset, attempt))


def logs(
    run: Run = None,
    *,
    repository: Repository = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Until the run is over or waits for people.")] = False,
    step: Annotated[str | None, typer.Option(help="Only this step.")] = None,
    round: Annotated[
        int | None, typer.Option("--round", min=1, help="Of a run that went on anew: this round, not the last one.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Print a run's logs. Ends with the run's state as exit code."""
    from stepwell.cli.follow import Follower, ending

    with connected() as (client, place):
        view = find_run(client, place, run, repository)
        source = OverHttp(client, view["id"])
        earlier = _earlier(view, round)
        if earlier is not None or not follow or view["state"] in FINISHED:
            require_step(view, step, (earlier or view)["steps"])
        if json:
            show_json(_as_data(source, view, step, earlier))
            end_with(view["state"])
        follower = Follower(source, console(), step)
        if earlier is not None:
            follower.earlier(earlier)
            end_with(view["state"])
        if view["rounds"]:
            kept = " or ".join(f"--round {one['number']}" for one in view["rounds"])
            say(f"Round {view['round']}; an earlier one with {kept}.")
        view = follower.until(lambda seen: not follow or waits(seen))
        for line in ending(view):
            say(line, "red")
        if not follow:
            end_with(view["state"])
        for waiting in view["approvals"]:
            say(f"waits for {waiting['name']!r}: {place.login.url}{view['url']}", "yellow")
    end_with(view["state"])


def _earlier(view: dict[str, Any], number: int | None) -> dict[str, Any] | None:
    """Give the round that was asked for, None for the one that goes on now. Raises NotFound."""
    if number is None or number == view["round"]:
        return None
    kept: dict[int, dict[str, Any]] = {one["number"]: one for one in view["rounds"]}
    if number not in kept:
        known = ", ".join(map(str, [*kept, view["round"]]))
        raise NotFound(f"Run #{view['number']} has no logs of round {number}: older ones go. Kept are: {known}.")
    return kept[number]


def require_step(view: dict[str, Any], only: str | None, steps: Sequence[dict[str, Any]] | None = None) -> None:
    """Refuse a step that a run, or one of its rounds with these steps, does not have."""
    steps = view["steps"] if steps is None else steps
    if only is not None and not any(only in (step["name"], step["key"]) for step in steps):
        names = ", ".join(dict.fromkeys(repr(step["name"]) for step in steps)) or "none yet"
        raise NotFound(f"Run #{view['number']} has no step {only!r}. Its steps: {names}.")


def waits(view: dict[str, Any]) -> bool:
    """Say whether a run waits for people."""
    return view["state"] == "waiting" and bool(view["approvals"])


def _as_data(
    source: OverHttp, view: dict[str, Any], only: str | None, earlier: dict[str, Any] | None
) -> dict[str, Any]:
    if earlier is None:
        steps, own = [item for item in view["steps"] if item["kind"] == "run"], ""
    else:
        steps, own = [item for item in earlier["steps"] if item["attempt"]], f"@{earlier['number']}"
    keys = [item["key"] for item in steps if only in (None, item["name"], item["key"])]
    return {
        "run": view["id"],
        "state": view["state"],
        "reason": view["reason"],
        "round": view["round"] if earlier is None else earlier["number"],
        "output": "" if only else _whole(source, own),
        "logs": {key: _whole(source, key) for key in keys},
    }


def _whole(source: OverHttp, key: str) -> str:
    content = b""
    while part := source.log(key, len(content)):
        content += part
    return content.decode(errors="replace")
