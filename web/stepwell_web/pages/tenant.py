"""A tenant's pages: repositories and runs, people, secrets, usage, dead runs, the audit log."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import Response

from stepwell.ci.usage import DAYS
from stepwell.ci.views import RunSummary
from stepwell.errors import Conflict, Invalid, StepwellError
from stepwell.tenants.actors import ROLES
from stepwell_web import secretform, usageview
from stepwell_web.goings import Going, ask, confirmed
from stepwell_web.pages.home import last_active_first, places
from stepwell_web.pages.home import page as home
from stepwell_web.problems import told
from stepwell_web.visits import FARTHEST, Form, Tried, Visit, Visiting, text, to

router = APIRouter(include_in_schema=False)
AUDIT_PAGE = 100
MOST_AT_ONCE = 100


@dataclass(frozen=True)
class Done:
    """What became of each of the runs that something was asked for: number and address, and why not."""

    action: str
    changed: tuple[tuple[int, str], ...]
    refused: tuple[tuple[str, str], ...]


def common(visit: Visit, tenant: str, tab: str, word: str = "") -> dict[str, Any]:
    """What every page of the tenant needs."""
    found = visit.services.tenants.get(visit.actor, tenant)
    way = [(tenant, f"/{tenant}"), (word, "")] if word else [(tenant, f"/{tenant}")]
    may = {action: visit.actor.may(action, tenant) for action in ("manage", "own", "write")}
    return {"tenant": found, "tab": tab, "crumbs": way, "may": may}


@router.get("/{tenant}")
def overview(visit: Visiting, tenant: str) -> Response:
    """Show a tenant: its repositories and runs."""
    return _overview(visit, tenant)


def _overview(visit: Visit, tenant: str, **more: Any) -> Response:
    services = visit.services
    return visit.page(
        "tenant.html", runs=services.runs.list(visit.actor, tenant=tenant, limit=20),
        listed=last_active_first(services.catalog.list(visit.actor, tenant)), tenants=places(visit, tenant),
        **common(visit, tenant, "overview"), **more,
    )  # fmt: skip


@router.post("/new")
def create_repository(visit: Visiting, form: Form) -> Response:
    """Create a repository and show how to push to it. A refusal is shown on the page whose form it was."""
    tenant, name, at = text(form, "tenant"), text(form, "name").strip(), text(form, "at", "")
    try:
        made = visit.services.catalog.create(visit.actor, tenant, name)
    except (Invalid, Conflict) as error:
        more = {"tried": Tried("repository", {"tenant": tenant, "name": name}, str(error), "name"), "address": f"/{at}"}
        if at:
            return told(error, lambda status: _overview(visit, at, status=status, **more))
        return told(error, lambda status: home(visit, status=status, **more))
    return to(made.url)


@router.get("/{tenant}/-/people")
def people(visit: Visiting, tenant: str) -> Response:
    """Show who belongs to the tenant, and as what."""
    return _people(visit, tenant)


def _people(
    visit: Visit, tenant: str, *, invited: tuple[str, str] | None = None, known: tuple[str, str] | None = None
) -> Response:
    members = visit.services.tenants.members.list(visit.actor, tenant)
    values = common(visit, tenant, "people", "People")
    return visit.page("people.html", members=members, roles=ROLES, invited=invited, known=known, **values)


@router.post("/{tenant}/-/people")
def put_member(visit: Visiting, tenant: str, form: Form) -> Response:
    """Give somebody a role. Who is new here gets a link to sign in with, shown once; nobody else's is ever shown.

    Who has an account, but no role here, may be somebody else than is meant: that is asked first.
    """
    visit.actor.require("own", tenant)
    tenants, name, role = visit.services.tenants, text(form, "name").strip(), text(form, "role")
    if role not in ROLES:
        raise Invalid(f"Role {role!r} does not exist. Use one of: {', '.join(ROLES)}.")
    try:
        tenants.people.add(visit.actor, name)
    except Conflict:
        belongs = any(member.name == name for member in tenants.members.list(visit.actor, tenant))
        if not belongs and not confirmed(form):
            return _people(visit, tenant, known=(name, role))
        tenants.members.put(visit.actor, tenant, name, role)
        return to(f"/{tenant}/-/people")
    tenants.members.put(visit.actor, tenant, name, role)
    link = f"{visit.web.base}/signin?code={tenants.links.issue(name, minutes=24 * 60)}"
    answer = _people(visit, tenant, invited=(name, link))
    answer.headers["Cache-Control"] = "no-store"
    return answer


@router.post("/{tenant}/-/people/remove")
def remove_member(visit: Visiting, tenant: str, form: Form) -> Response:
    """Take somebody's role away, once it has been asked."""
    name = text(form, "name")
    if not confirmed(form):
        visit.actor.require("own", tenant)
        going = Going(
            f"Remove {name} from {tenant}?", f"They lose their role, and see nothing of {tenant} any more.", "Remove",
            f"/{tenant}/-/people",
        )  # fmt: skip
        return ask(visit, form, going, common(visit, tenant, "people", "People")["crumbs"])
    visit.services.tenants.members.remove(visit.actor, tenant, name)
    return to(f"/{tenant}/-/people")


@router.get("/{tenant}/-/secrets")
def secrets(visit: Visiting, tenant: str, secret: str = "") -> Response:
    """Show the names of the secrets of all repositories; one of them to be changed."""
    found = visit.services.tenants.secrets.list(visit.actor, tenant)
    known = secretform.chosen(found, secret, "")
    return visit.page("tenant_secrets.html", secrets=found, known=known, **common(visit, tenant, "secrets", "Secrets"))


@router.post("/{tenant}/-/secrets")
def put_secret(visit: Visiting, tenant: str, form: Form) -> Response:
    """Set a secret of the tenant, or change to which runs it is given."""
    secretform.save(visit, form, tenant)
    return to(f"/{tenant}/-/secrets")


@router.post("/{tenant}/-/secrets/delete")
def delete_secret(visit: Visiting, tenant: str, form: Form) -> Response:
    """Delete a secret of the tenant, once it has been asked."""
    name = text(form, "name")
    if not confirmed(form):
        visit.actor.require("manage", tenant)
        words = "Steps of every repository that ask for it fail until it is set again."
        going = Going(f"Delete the secret {name}?", words, "Delete", f"/{tenant}/-/secrets")
        return ask(visit, form, going, common(visit, tenant, "secrets", "Secrets")["crumbs"])
    visit.services.tenants.secrets.remove(visit.actor, tenant, name)
    return to(f"/{tenant}/-/secrets")


@router.get("/{tenant}/-/usage")
def usage(visit: Visiting, tenant: str) -> Response:
    """Show what runs took and what is kept of them, how many were begun lately, and how many may go on at a time."""
    values, services = common(visit, tenant, "usage", "Usage"), visit.services
    settings = services.settings
    months, disk = services.usage.months(visit.actor, tenant), services.usage.disk(visit.actor, tenant)
    used = usageview.shown(months, disk, visit.web.templates.now())
    return visit.page(
        "usage.html", usage=services.usage.of(visit.actor, tenant), days=DAYS, used=used,
        quotas=services.tenants.quotas.list(visit.actor, tenant), places=services.catalog.list(visit.actor, tenant),
        defaults=(settings.runs_per_tenant, settings.runs_per_repository), **values,
    )  # fmt: skip


@router.post("/{tenant}/-/usage")
def put_quota(visit: Visiting, tenant: str, form: Form) -> Response:
    """Set or take away a quota."""
    runs = text(form, "runs", "").strip()
    if runs and not (runs.isascii() and runs.isdigit() and len(runs) < 10):
        raise Invalid(f"Runs is {runs[:40]!r}. Give a number, or nothing for no quota.")
    visit.services.tenants.quotas.put(visit.actor, tenant, int(runs) if runs else None, text(form, "repository", ""))
    return to(f"/{tenant}/-/usage")


@router.get("/{tenant}/-/audit")
def audit(visit: Visiting, tenant: str, before: Annotated[int | None, Query(ge=1, le=FARTHEST)] = None) -> Response:
    """Show who changed what, the newest first."""
    found = visit.services.tenants.audit.list(visit.actor, tenant, before, AUDIT_PAGE)
    older = found[-1].id if len(found) == AUDIT_PAGE else None
    return visit.page("audit.html", entries=found, older=older, **common(visit, tenant, "audit", "Audit log"))


@router.get("/{tenant}/-/dead")
def dead(visit: Visiting, tenant: str, cursor: str | None = None) -> Response:
    """Show the runs that will not go on by themselves, and why."""
    return _dead(visit, tenant, cursor, None)


def _dead(visit: Visit, tenant: str, cursor: str | None, done: Done | None) -> Response:
    found = visit.services.bulk.dead(visit.actor, tenant, cursor=cursor or None)
    older = f"/{tenant}/-/dead?cursor={found.next}" if found.next else ""
    values = common(visit, tenant, "dead", "Dead runs")
    return visit.page("dead.html", dead=found.runs, older=older, done=done, **values)


@router.post("/{tenant}/-/dead")
def change_dead(visit: Visiting, tenant: str, form: Form) -> Response:
    """Run again, go on with the old code of, or end the runs that were chosen; one that cannot be is named with why."""
    visit.actor.require("write", tenant)
    action, chosen = text(form, "action"), [one for one in form.getlist("run") if isinstance(one, str)]
    if action not in ("rerun", "old", "terminate") or not chosen:
        raise Invalid("No run was chosen. Mark those that are meant, then press the button.")
    changed, refused = [], []
    for run in chosen[:MOST_AT_ONCE]:
        try:
            changed.append(_changed(visit, tenant, action, run))
        except StepwellError as error:
            refused.append((run, str(error)))
    return _dead(visit, tenant, None, Done(action, tuple(changed), tuple(refused)))


def _changed(visit: Visit, tenant: str, action: str, run: str) -> tuple[int, str]:
    found = visit.services.runs.summary(visit.actor, run)
    if found.tenant != tenant:
        raise Invalid(f"Run {run!r} is not of {tenant}.")
    if action == "rerun":
        made = visit.services.runs.rerun(visit.actor, run)
        return made.number, made.url
    if action == "old":
        made = _with_old_code(visit, run)
        return made.number, made.url
    visit.services.control.terminate(visit.actor, run)
    return found.number, found.url


def _with_old_code(visit: Visit, run: str) -> RunSummary:
    """Restart, with its own code, the run from which this one was restarted with newer code."""
    view = visit.services.runs.get(visit.actor, run)
    way = next((one for one in view.ways_on if one.run.id != run), None)
    if way is None:
        raise Conflict(
            f"Run #{view.summary.number} has no older code to go on with: it was not restarted with newer code. "
            "Restart it from a step on its page, or run it again."
        )
    return visit.services.control.restart(visit.actor, way.run.id, way.from_step)
