"""`stepwell runs` and `logs`: what happens on the server."""

from typing import Annotated, Any

import typer

from stepwell.cli.screen import JsonFlag, console, end_with, say, show_json, show_table, state_text
from stepwell.cli.where import FINISHED, connected, find_run, flat
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

    def view(self) -> dict[str, Any]:
        return flat(self._client.get(f"/runs/{self._run}"))

    def log(self, key: str, offset: int, attempt: int | None = None) -> bytes:
        return bytes(self._client.log(self._run, key, offset, attempt))


def logs(
    run: Run = None,
    repository: Repository = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Until the run is over or waits for people.")] = False,
    step: Annotated[str | None, typer.Option(help="Only this step.")] = None,
    json: JsonFlag = False,
) -> None:
    """Print a run's logs. Ends with the run's state as exit code."""
    from stepwell.cli.follow import Follower

    with connected() as (client, place):
        view = find_run(client, place, run, repository)
        source = OverHttp(client, view["id"])
        if not follow or view["state"] in FINISHED:
            require_step(view, step)
        if json:
            show_json(_as_data(source, view, step))
            end_with(view["state"])
        follower = Follower(source, console(), step)
        view = follower.until(lambda seen: not follow or waits(seen))
        if not follow:
            end_with(view["state"])
        for waiting in view["approvals"]:
            say(f"waits for {waiting['name']!r}: {place.login.url}{view['url']}", "yellow")
    end_with(view["state"])


def require_step(view: dict[str, Any], only: str | None) -> None:
    """Refuse a step that a run does not have."""
    if only is not None and not any(only in (step["name"], step["key"]) for step in view["steps"]):
        names = ", ".join(dict.fromkeys(repr(step["name"]) for step in view["steps"])) or "none yet"
        raise NotFound(f"Run #{view['number']} has no step {only!r}. Its steps: {names}.")


def waits(view: dict[str, Any]) -> bool:
    """Say whether a run waits for people."""
    return view["state"] == "waiting" and bool(view["approvals"])


def _as_data(source: OverHttp, view: dict[str, Any], only: str | None) -> dict[str, Any]:
    steps = [item for item in view["steps"] if item["kind"] == "run" and only in (None, item["name"], item["key"])]
    return {
        "run": view["id"],
        "state": view["state"],
        "output": "" if only else _whole(source, ""),
        "logs": {item["key"]: _whole(source, item["key"]) for item in steps},
    }


def _whole(source: OverHttp, key: str) -> str:
    content = b""
    while part := source.log(key, len(content)):
        content += part
    return content.decode(errors="replace")
