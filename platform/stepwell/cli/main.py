"""`stepwell`: the commands by name. Each lives in a file of its own and imports what is heavy only when called."""

import sys
from importlib import metadata
from typing import Annotated

import typer

from stepwell.cli import (
    artifacts,
    bench,
    bulk,
    cache,
    check,
    control,
    decide,
    demo,
    doctor,
    init,
    local,
    login,
    moments,
    plan,
    quota,
    registry,
    repo,
    reports,
    runs,
    search,
    secret,
    token,
    up,
)
from stepwell.cli.backup import backup, restore
from stepwell.cli.retention import retention
from stepwell.cli.screen import COMMAND_FAILED, show_error
from stepwell.errors import StepwellError

app = typer.Typer(
    help="CI/CD whose pipeline is a durable Python program in the repository.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"stepwell {metadata.version('stepwell')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """CI/CD whose pipeline is a durable Python program in the repository."""


app.command("up")(up.up)
app.command("demo")(demo.demo)
app.command("login")(login.login)
app.command("signin")(login.signin)
app.command("init")(init.init)
app.command("check")(check.check)
app.command("run")(local.run)
app.add_typer(repo.app, name="repo")
app.add_typer(secret.app, name="secret")
app.add_typer(registry.app, name="registry")
app.add_typer(token.app, name="token")
app.command("plan")(plan.plan)
app.add_typer(cache.app, name="cache")
app.command("quota")(quota.quota)
app.command("runs")(runs.runs)
app.command("logs")(runs.logs)
app.command("search")(search.search)
app.command("artifacts")(artifacts.artifacts)
app.command("tests")(reports.tests)
app.command("diff")(moments.diff)
app.command("shell")(moments.shell)
app.command("approve")(decide.approve)
app.command("reject")(decide.reject)
app.command("pause")(control.pause)
app.command("resume")(control.resume)
app.command("cancel")(control.cancel)
app.command("terminate")(control.terminate)
app.command("restart")(control.restart)
app.command("bulk")(bulk.bulk)
app.command("dead")(bulk.dead)
app.command("doctor")(doctor.doctor)
app.command("backup")(backup)
app.command("restore")(restore)
app.command("retention")(retention)
app.command("bench")(bench.bench)


def main() -> None:
    """Run the command that was asked for; a known failure is its message, never a traceback."""
    try:
        app()
    except StepwellError as error:
        show_error(error)
        sys.exit(COMMAND_FAILED)
