"""`stepwell secret`: set, list, limit and delete. Values come from a prompt or standard input, never from arguments."""

from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer

from stepwell.cli.screen import JsonFlag, ask_hidden, say, show_json, show_table
from stepwell.cli.where import Place, connected
from stepwell.errors import Invalid

if TYPE_CHECKING:
    from stepwell.cli.client import Client

app = typer.Typer(help="Set, list, limit and delete secrets of a repository or tenant.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name of the secret, like DEPLOY_KEY.")]
Repository = Annotated[str | None, typer.Option("--repo", help="tenant/name; by default this directory's.")]
Tenant = Annotated[str | None, typer.Option("--tenant", help="For all repositories of a tenant.")]
Environment = Annotated[str, typer.Option("--environment", help="Only for steps in this environment.")]

Refs = Annotated[
    str | None,
    typer.Option("--refs", help="Whose runs get it: protected, every, or globs like 'main, release/*, tags/v*'."),
]


@app.command("set")
def set_(
    name: Name,
    repository: Repository = None,
    *,
    tenant: Tenant = None,
    environment: Environment = "",
    refs: Refs = None,
    json: JsonFlag = False,
) -> None:
    """Set a secret. The value is asked for, or read from standard input.

    A new one is for runs of protected branches, one of an environment for every ref that the environment takes.
    """
    given = {} if refs is None else {"refs": _refs(refs)}
    value = ask_hidden(f"Value of {name}", f"value for {name}")
    with connected() as (client, place):
        where = _where(place, repository, tenant)
        if environment and not tenant:
            _provide_environment(client, where, environment)
        client.put(f"{where}/secrets/{quote(name, safe='')}", value=value, environment=environment, **given)
    if json:
        show_json({"name": name, "environment": environment})
    else:
        reach = "in runs of the refs that it is for: `stepwell secret list`"
        say(f"Set {name}. Nobody can read it from now on; steps that name it get it, {reach}.", "green")


@app.command("limit")
def limit(
    name: Name,
    refs: Annotated[str, typer.Option("--refs", help="protected, every, or globs like 'main, release/*, tags/v*'.")],
    repository: Repository = None,
    *,
    tenant: Tenant = None,
    environment: Environment = "",
    json: JsonFlag = False,
) -> None:
    """Change to which branches and tags a secret is given; its value stays."""
    given = _refs(refs)
    with connected() as (client, place):
        where = _where(place, repository, tenant)
        client.patch(f"{where}/secrets/{quote(name, safe='')}", refs=given, environment=environment)
    if json:
        show_json({"name": name, "environment": environment, "refs": given})
    else:
        say(f"{name} is given to runs of {_spoken(given)}, from now on.", "green")


@app.command("list")
def list_(repository: Repository = None, tenant: Tenant = None, json: JsonFlag = False) -> None:
    """List secrets, by name only."""
    with connected() as (client, place):
        found = client.get(f"{_where(place, repository, tenant)}/secrets")["items"]
    if json:
        show_json(found)
        return
    rows = (
        (one["name"], one["repository"] or "whole tenant", one["environment"], _spoken(one["refs"]), one["created_by"])
        for one in found
    )
    show_table(("SECRET", "REPOSITORY", "ENVIRONMENT", "GIVEN TO", "SET BY"), rows)


@app.command("delete")
def delete(
    name: Name,
    repository: Repository = None,
    tenant: Tenant = None,
    environment: Environment = "",
    json: JsonFlag = False,
) -> None:
    """Delete a secret."""
    with connected() as (client, place):
        where = _where(place, repository, tenant)
        client.delete(f"{where}/secrets/{quote(name, safe='')}", environment=environment or None)
    if json:
        show_json({"name": name, "deleted": True})
    else:
        say(f"Deleted {name}.", "green")


def _refs(said: str) -> str | list[str]:
    """Read what was said; a branch that is called every or protected is written as a glob, like [p]rotected."""
    if said in ("protected", "every"):
        return [] if said == "every" else said
    refs = said.replace(",", " ").split()
    if not refs:
        raise Invalid("--refs names no branch or tag. Write protected, every, or some like 'main, release/*, tags/v*'.")
    return refs


def _spoken(refs: str | list[str]) -> str:
    return "protected branches" if refs == "protected" else ", ".join(refs) or "every branch and tag"


def _provide_environment(client: "Client", where: str, environment: str) -> None:
    """Make the environment when it is not there yet: one approval by anybody who may approve."""
    if environment not in {item["name"] for item in client.get(f"{where}/environments")["items"]}:
        client.put(f"{where}/environments/{quote(environment, safe='')}")
        say(f"Created the environment {environment!r}: one person has to approve. Its page changes the rules.")


def _where(place: Place, repository: str | None, tenant: str | None) -> str:
    if repository and tenant:
        raise Invalid("Both --repo and --tenant were given. Give one of them.")
    return f"/tenants/{tenant}" if tenant else f"/repos/{place.require_repository(repository)}"
