"""Plans: check and start programs that are sent in the request."""

from typing import Annotated, Any

from fastapi import APIRouter, Header
from pydantic import BaseModel, Field

from stepwell.ci.code import ENTRY
from stepwell.ci.plans import Checked, Plan
from stepwell.errors import Invalid
from stepwell.tenants.actors import Actor
from stepwell_web.api import answers
from stepwell_web.api.access import Caller

router = APIRouter(tags=["plans"])
Program = Annotated[
    str | dict[str, str],
    Field(description=f"a program like .stepwell/pipeline.py: its text, or texts by path, {ENTRY} among them"),
]


class PlanToCheck(BaseModel):
    """A program to look through."""

    code: Program
    tenant: str | None = Field(None, description="may be left out by who is of one tenant only")


class NewPlan(PlanToCheck):
    """A program to run."""

    event: Any = Field(None, description="what the code finds in event.payload")
    pipeline: str | None = Field(None, description="its class; may be left out where there is only one")
    repository: str | None = Field(None, description="tenant/name of the one whose files the workspace has")
    ref: str | None = Field(None, description="branch, tag or commit of it; the default branch when left out")


@router.post("/plans", status_code=201)
def start(caller: Caller, *, body: NewPlan, idempotency_key: Annotated[str | None, Header()] = None) -> dict[str, Any]:
    """Check a program and run it; the same `Idempotency-Key` starts one run however often it is sent.

    A plan has the secrets and environments that your token's scopes name, no others. `steps` are what its text tells.
    """
    of_repository, slash, name = (body.repository or "").partition("/")
    if body.repository and not slash:
        raise Invalid(f"repository has value {body.repository!r}. Write it as tenant/name.")
    tenant = _tenant(caller.actor, body.tenant or of_repository)
    if of_repository not in ("", tenant):
        raise Invalid(f"The repository is of tenant {of_repository!r}, the plan of {tenant!r}. Use one tenant.")
    plan = Plan(_files(body.code), body.event, body.pipeline or "", name, body.ref or "", key=idempotency_key or "")
    run, checked = caller.services.plans.start(caller.actor, tenant, plan)
    return {**answers.run_summary(caller.services.runs.summary(caller.actor, run.id)), "steps": _told(checked)["steps"]}


@router.post("/plans/check")
def check(caller: Caller, *, body: PlanToCheck) -> dict[str, Any]:
    """Look a program through without running it: syntax, imports, pipelines, the steps that its text tells."""
    found = caller.services.plans.check(caller.actor, _tenant(caller.actor, body.tenant or ""), _files(body.code))
    return {"ok": found.problem is None, **_told(found)}


def _tenant(actor: Actor, named: str) -> str:
    if named:
        return named
    if len(actor.tenants) != 1:
        told = f"Name one of {', '.join(actor.tenants)}" if actor.tenants else "You are of none: sign in first"
        raise Invalid(f"A plan belongs to a tenant. {told}.")
    return actor.tenants[0]


def _files(code: str | dict[str, str]) -> dict[str, str]:
    return {ENTRY: code} if isinstance(code, str) else code


def _told(checked: Checked) -> dict[str, Any]:
    problem = checked.problem
    names = ("name", "entry", "doc", "line")
    return {
        "pipelines": [{name: getattr(one, name) for name in names} for one in checked.pipelines],
        "steps": [answers.plain(step) for step in checked.steps],
        "problem": {**answers.plain(problem), "text": problem.text} if problem else None,
    }
