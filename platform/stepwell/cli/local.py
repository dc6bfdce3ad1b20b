"""`stepwell run`: this working tree, dirty or not, on the same engine and behind the same wall, without a server."""

import hashlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stepwell.cli.screen import JsonFlag, console, end_with, say, show_json
from stepwell.errors import Invalid, Unavailable

if TYPE_CHECKING:
    from stepwell.cli.compose import Rooms
    from stepwell.cli.worktree import WorkTree

TENANT = "home"


def run(
    pipeline: Annotated[str | None, typer.Argument(help="Which pipeline, when there are several.")] = None,
    *,
    given: Annotated[list[str] | None, typer.Option("--input", "-i", help="An input, NAME=VALUE.")] = None,
    secret: Annotated[list[str] | None, typer.Option(help="A secret by name; its value is that variable here.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Approve whatever it asks.")] = False,
    state: Annotated[Path | None, typer.Option(help="State directory; by default one per working tree.")] = None,
    json: JsonFlag = False,
) -> None:
    """Run a pipeline on this working tree, dirty or not. Ends with the run's state as exit code."""
    from stepwell.cli.check import describe, root_of
    from stepwell.cli.compose import Rooms, settings_with
    from stepwell.cli.decide import parse_fields
    from stepwell.cli.worktree import WorkTree

    root = root_of(Path())
    found = describe(root)
    if found.error is not None:
        raise Invalid(found.error["message"])
    name = _choose([one["name"] for one in found.pipelines], pipeline)
    tree = WorkTree(root)
    settings = settings_with(state=state or _state_of(root))
    with Rooms.open(settings) as rooms:
        if rooms.wall:
            raise Unavailable(
                f"{rooms.wall} Or set STEPWELL_TRUST_ALL_CODE=1: it is your own code on your own machine."
            )
        view = _Local(rooms, tree).play(
            name, parse_fields(given or [], "Input"), _values(secret or []), yes=yes, quiet=json
        )
    if json:
        show_json({"run": view["id"], "state": view["state"], "error": view["error"], "steps": view["steps"]})
    elif view["error"]:
        say(f"{view['state']}: {view['error']['message']}", "red")
        for name in unknown_secrets(view):
            say(f"For this run: give it with --secret {name}; the value is taken from the variable {name}.", "yellow")
    else:
        say(view["state"], "green" if view["state"] == "passed" else "yellow")
    end_with(view["state"])


def _state_of(root: Path) -> Path:
    from stepwell.cli.compose import state_home

    return state_home() / "stepwell-run" / hashlib.sha256(str(root).encode()).hexdigest()[:16]


def _choose(names: list[str], said: str | None) -> str:
    if said in names:
        return said
    if said is None and len(names) == 1:
        return names[0]
    problem = f"There is no pipeline {said!r}" if said else "There are several pipelines"
    raise Invalid(f"{problem}. Name one of: {', '.join(names)}.")


def _values(names: list[str]) -> dict[str, str]:
    missing = next((name for name in names if not os.environ.get(name)), None)
    if missing is not None:
        raise Invalid(f"Secret {missing!r} has no value here. Set the variable {missing} for this command.")
    return {name: os.environ[name] for name in names}


def unknown_secrets(view: dict[str, Any]) -> list[str]:
    """Name the secrets whose absence failed a step."""
    steps = (step for step in view["steps"] if step["error"] and step["error"]["type"] == "NotFound")
    return sorted({name for step in steps for name in step["secrets"] if repr(name) in step["error"]["message"]})


class _Local:
    """One run in this process; the source that `follow` reads."""

    def __init__(self, rooms: "Rooms", tree: "WorkTree") -> None:
        self.services = rooms.services
        self.actor = rooms.admin()
        self.tree = tree
        self.run = ""

    def play(
        self, pipeline: str, inputs: dict[str, str], secrets: dict[str, str], *, yes: bool, quiet: bool
    ) -> dict[str, Any]:
        """Start the run and follow it to its end, asking the person what it asks."""
        from stepwell.cli.follow import Follower
        from stepwell.cli.where import FINISHED

        repository = self._repository()
        for name, value in secrets.items():
            self.services.tenants.secrets.put(self.actor, TENANT, name, value, repository=repository, refs=())
        self.run = self._start(repository, pipeline, inputs)
        follower = Follower(self, console(stderr=quiet))
        while True:
            view = follower.until(lambda seen: bool(seen["state"] == "waiting" and self._questions()))
            questions = self._questions()
            if view["state"] in FINISHED or not questions:
                return view
            for waiting in questions:
                self._answer(waiting, yes=yes)

    def _questions(self) -> list[dict[str, Any]]:
        """Give what this run asks people, and the runs that it has called."""
        from stepwell_web.api import answers

        return [answers.approval(one) for one in self.services.runs.inbox(self.actor)]

    def view(self) -> dict[str, Any]:
        from stepwell.cli.where import flat
        from stepwell_web.api import answers

        return flat(answers.run(self.services.runs.get(self.actor, self.run)))

    def log(self, key: str, offset: int, attempt: int | None = None) -> bytes:
        return self.services.runs.log(self.actor, self.run, key, attempt).read(offset, 65536)

    def _repository(self) -> str:
        from stepwell.cli.init import fit_name

        name = fit_name(self.tree.root.name)
        if name not in {view.name for view in self.services.catalog.list(self.actor, TENANT)}:
            self.services.catalog.create(self.actor, TENANT, name)
        return name

    def _start(self, repository: str, pipeline: str, inputs: dict[str, str]) -> str:
        services = self.services
        row = services.tenants.scope.repository(self.actor, TENANT, repository, "write")
        sha = self.tree.push_as_it_is(services.repositories.path(row.id), self.tree.branch)
        summary = services.runs.start(self.actor, TENANT, repository, pipeline, ref=sha, inputs=inputs)
        return str(summary.id)

    def _answer(self, waiting: dict[str, Any], *, yes: bool) -> None:
        if not yes and not sys.stdin.isatty():
            say(
                f"{waiting['name']!r} waits for an answer and there is nobody to ask: rejected. Say --yes to approve.",
                "yellow",
            )
        approved = yes or (sys.stdin.isatty() and typer.confirm(f"Approve {waiting['name']!r}?", err=True))
        self.services.runs.decide(
            self.actor, waiting["run"]["id"], waiting["key"], approve=approved, comment="stepwell run"
        )
