"""A repository's pages: runs and manual start, pipelines, settings."""

import re
from dataclasses import replace
from typing import Any

from fastapi import APIRouter
from starlette.datastructures import FormData
from starlette.responses import Response

from stepwell.ci.views import EnvironmentView, RepositoryView
from stepwell.errors import Invalid, NotFound, StepwellError
from stepwell_web import secretform
from stepwell_web.goings import Going, ask, confirmed
from stepwell_web.pages.home import SAMPLE
from stepwell_web.pages.trends import trend_rows
from stepwell_web.problems import told
from stepwell_web.visits import Form, Tried, Visit, Visiting, fields, text, to, words

router = APIRouter(include_in_schema=False)
LAST_RUNS = 12


def crumbs(repository: RepositoryView, *more: tuple[str, str]) -> list[tuple[str, str]]:
    """The way to a page of the repository."""
    return [(repository.tenant, f"/{repository.tenant}"), (repository.name, repository.url), *more]


def common(visit: Visit, tenant: str, name: str, tab: str) -> dict[str, Any]:
    """What every page of the repository needs."""
    repository = visit.services.catalog.get(visit.actor, tenant, name)
    return {"repository": repository, "tab": tab, "sample": SAMPLE}


def _pipelines(visit: Visit, tenant: str, name: str) -> dict[str, Any]:
    pipelines = visit.services.catalog.pipelines(visit.actor, tenant, name)
    return {"pipelines": pipelines, "manual": [p for p in pipelines.pipelines if p.manual]}


@router.get("/{tenant}/{name}")
def overview(visit: Visiting, *, tenant: str, name: str) -> Response:
    """Show how its pipelines fare, the last runs, how to push, and what can be started by hand."""
    values = common(visit, tenant, name, "overview")
    runs = visit.services.runs.list(visit.actor, tenant=tenant, repository=name, limit=LAST_RUNS)
    return visit.page(
        "repository.html", crumbs=crumbs(values["repository"]), runs=runs,
        trends=trend_rows(visit, tenant, name) if runs.items else [], **values, **_pipelines(visit, tenant, name),
    )  # fmt: skip


@router.post("/{tenant}/{name}/runs")
def start(visit: Visiting, *, tenant: str, name: str, form: Form) -> Response:
    """Start a pipeline by hand."""
    inputs, ref, pipeline = fields(form, "input."), text(form, "ref", "").strip(), text(form, "pipeline")
    try:
        run = visit.services.runs.start(visit.actor, tenant, name, pipeline, ref=ref or None, inputs=inputs)
    except (Invalid, NotFound) as error:  # where the repository itself is not found, its page says so as well
        at = f"input.{error.field}" if isinstance(error, Invalid) and error.field else ""
        typed = {f"input.{one}": value for one, value in inputs.items()}
        tried = Tried(pipeline, {**typed, "ref": ref}, str(error), "ref" if isinstance(error, NotFound) else at)
        more = {"tried": tried, "address": f"/{tenant}/{name}/pipelines"}
        return told(error, lambda status: _pipelines_page(visit, tenant, name, status=status, **more))
    return to(run.url)


@router.get("/{tenant}/{name}/pipelines")
def pipelines(visit: Visiting, *, tenant: str, name: str) -> Response:
    """Show the pipelines at the default branch, or why they cannot be read."""
    return _pipelines_page(visit, tenant, name)


def _pipelines_page(visit: Visit, tenant: str, name: str, **more: Any) -> Response:
    values = common(visit, tenant, name, "pipelines")
    way = crumbs(values["repository"], ("Pipelines", ""))
    schedules = visit.services.catalog.schedules(visit.actor, tenant, name)
    return visit.page(
        "pipelines.html", crumbs=way, schedules=schedules, **values,
        **_pipelines(visit, tenant, name), **more,
    )  # fmt: skip


@router.get("/{tenant}/{name}/environments")
def environments(visit: Visiting, *, tenant: str, name: str) -> Response:
    """Show what is in each environment, what waits to go there, and under which rules."""
    values, services = common(visit, tenant, name, "environments"), visit.services
    known = {one.name: one for one in services.environments.list(visit.actor, tenant, name)}
    current = services.deployments.current(visit.actor, tenant, name)
    scope = values["repository"].full_name
    waiting = [one for one in services.runs.inbox(visit.actor) if one.run.scope == scope and one.environment]
    places = [(one, known.get(one), current.get(one)) for one in sorted({*known, *current})]
    way = crumbs(values["repository"], ("Environments", ""))
    return visit.page("environments.html", crumbs=way, environments=places, waiting=waiting, **values)


@router.get("/{tenant}/{name}/settings")
def settings(
    visit: Visiting, *, tenant: str, name: str, environment: str = "", secret: str = "", of: str = ""
) -> Response:
    """Show secrets, environments and the repository's own settings; one environment or one secret to be changed."""
    return _settings(visit, (tenant, name), environment, secret, of)


def _settings(
    visit: Visit, place: tuple[str, str], environment: str = "", secret: str = "", of: str = "", **more: Any
) -> Response:
    tenant, name = place
    visit.actor.require("manage", tenant, name)
    values = common(visit, tenant, name, "settings")
    environments = visit.services.environments.list(visit.actor, tenant, name)
    chosen = next((one for one in environments if one.name == environment), None)
    secrets = visit.services.tenants.secrets.list(visit.actor, tenant, name)
    return visit.page(
        "settings.html",
        crumbs=crumbs(values["repository"], ("Settings", "")),
        environments=environments,
        changed=chosen or EnvironmentView(environment),
        secrets=secrets,
        known=secretform.chosen(secrets, secret, of),
        artifacts_days=visit.services.catalog.artifacts_days,
        **values,
        **more,
    )


def _refused(
    visit: Visit, place: tuple[str, str], error: StepwellError, of: tuple[str, FormData], field: str
) -> Response:
    """Show the settings with what was typed into the form of a name, and what is wrong at its field."""
    which, form = of
    typed = {key: value for key, value in form.items() if isinstance(value, str)}
    chosen = typed.get("name", "") if which == "environment" else ""
    tried, address = Tried(which, typed, str(error), field), f"/{place[0]}/{place[1]}/settings"
    return told(error, lambda status: _settings(visit, place, chosen, status=status, tried=tried, address=address))


@router.post("/{tenant}/{name}/settings")
def change_settings(visit: Visiting, *, tenant: str, name: str, form: Form) -> Response:
    """Change the repository's own settings."""
    try:
        visit.services.catalog.update(
            visit.actor, tenant, name, description=text(form, "description", ""),
            default_branch=text(form, "default_branch").strip(), protected=words(text(form, "protected", "")),
            keep_artifacts_days=_days(form),
        )  # fmt: skip
    except (Invalid, NotFound) as error:  # where the repository itself is not found, its page says so as well
        field = error.field if isinstance(error, Invalid) else "default_branch"
        return _refused(visit, (tenant, name), error, ("general", form), field)
    return to(f"/{tenant}/{name}/settings")


def _days(form: FormData) -> int | None:
    """Return the days that a form says; 0 for an empty field, None without the field."""
    if "keep_artifacts_days" not in form:
        return None
    written = text(form, "keep_artifacts_days").strip()
    if written and not (written.isascii() and written.isdigit() and len(written) < 10):
        raise Invalid(
            f"The days for which artifacts are kept have value {written[:40]!r}. Write a whole number, or nothing for "
            "as long as the server keeps them.",
            field="keep_artifacts_days",
        )
    return int(written or 0)


@router.post("/{tenant}/{name}/settings/delete")
def delete(visit: Visiting, *, tenant: str, name: str, form: Form) -> Response:
    """Delete the repository, once its name has been typed and none of its runs goes on."""
    runs = visit.services.removal.going_on(visit.actor, tenant, name)
    full = f"{tenant}/{name}"
    if not runs and confirmed(form) and text(form, "typed", "").strip() == full:
        visit.services.removal.remove(visit.actor, tenant, name)
        return to(f"/{tenant}")
    words = (
        "Its commits, its runs with their logs and files, its environments, secrets, schedules and caches go for good, "
        "and tokens for it alone are revoked. Clones that people have stay theirs."
    )
    going = Going(f"Delete {full}?", words, "Delete the repository", f"/{tenant}/{name}/settings#general", full)
    if runs:
        words = f"Runs that have not ended keep it: {', '.join(runs)}. Cancel them or let them end first."
        going = replace(going, words=words, typed="", instead=("Show its runs", f"/{tenant}/{name}/runs"))
    return _ask(visit, (tenant, name), form, going)


@router.post("/{tenant}/{name}/settings/secrets")
def put_secret(visit: Visiting, *, tenant: str, name: str, form: Form) -> Response:
    """Set a secret of the repository or of one of its environments, or change to which runs it is given."""
    secretform.save(visit, form, tenant, name)
    return to(f"/{tenant}/{name}/settings#secrets")


@router.post("/{tenant}/{name}/settings/secrets/delete")
def delete_secret(visit: Visiting, *, tenant: str, name: str, form: Form) -> Response:
    """Delete a secret, once it has been asked."""
    secret, environment = text(form, "name"), text(form, "environment", "")
    if not confirmed(form):
        what = f"the secret {secret}{f' of {environment}' if environment else ''}"
        words = "Steps that ask for it fail until it is set again."
        going = Going(f"Delete {what}?", words, "Delete", f"/{tenant}/{name}/settings#secrets")
        return _ask(visit, (tenant, name), form, going)
    visit.services.tenants.secrets.remove(visit.actor, tenant, secret, repository=name, environment=environment)
    return to(f"/{tenant}/{name}/settings#secrets")


def _ask(visit: Visit, of: tuple[str, str], form: FormData, going: Going) -> Response:
    """Ask before something goes that stands in the settings."""
    visit.actor.require("manage", *of)
    way = crumbs(visit.services.catalog.get(visit.actor, *of), ("Settings", going.back), ("Delete", ""))
    return ask(visit, form, going, way)


@router.post("/{tenant}/{name}/settings/environments")
def put_environment(visit: Visiting, *, tenant: str, name: str, form: Form) -> Response:
    """Create an environment or change its rules."""
    count = text(form, "count", "1")
    try:
        visit.services.environments.put(
            visit.actor, tenant, name, text(form, "name").strip(), reviewers=words(text(form, "reviewers", "")),
            count=int(count) if re.fullmatch("[0-9]{1,9}", count) else 1, branches=words(text(form, "branches", "")),
            forbid_author=bool(form.get("forbid_author")), wait=text(form, "wait", "").strip() or 0,
        )  # fmt: skip
    except Invalid as error:
        return _refused(visit, (tenant, name), error, ("environment", form), error.field)
    return to(f"/{tenant}/{name}/settings#environments")


@router.post("/{tenant}/{name}/settings/environments/delete")
def delete_environment(visit: Visiting, *, tenant: str, name: str, form: Form) -> Response:
    """Delete an environment, once it has been asked."""
    environment = text(form, "name")
    if not confirmed(form):
        visit.actor.require("manage", tenant, name)
        secrets = visit.services.environments.get(visit.actor, tenant, name, environment).secrets
        held = f"Its rules and its secrets {', '.join(secrets)} go" if secrets else "Its rules go"
        words = f"{held}: steps that deploy there ask nobody any more."
        back = f"/{tenant}/{name}/settings#environments"
        going = Going(f"Delete the environment {environment}?", words, "Delete", back)
        return _ask(visit, (tenant, name), form, going)
    visit.services.environments.remove(visit.actor, tenant, name, environment)
    return to(f"/{tenant}/{name}/settings#environments")
