"""The playground: write a program in the browser and have it run as a plan."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from stepwell.ci.code import ENTRY
from stepwell.ci.plans import NO_REPOSITORY, Checked, Plan
from stepwell.errors import Bug, Invalid, NotFound, StepwellError
from stepwell_web import packed
from stepwell_web.plan_examples import EXAMPLES
from stepwell_web.problems import told
from stepwell_web.visits import Form, Visit, Visiting, fields, text, to

router = APIRouter(include_in_schema=False)
FILE = "file:"
"""What the names of the fields of further files begin with."""


@dataclass(frozen=True)
class Draft:
    """What stands in the form; `others` are the files beside the main one, path → text."""

    tenant: str = ""
    code: str = EXAMPLES[0].code
    event: str = EXAMPLES[0].event
    pipeline: str = ""
    repository: str = ""
    ref: str = ""
    others: Mapping[str, str] = field(default_factory=dict)

    @property
    def files(self) -> dict[str, str]:
        """The whole program."""
        return {ENTRY: self.code, **self.others}


@router.get("/playground")
def show(visit: Visiting, *, example: str = "", tenant: str = "", run: str = "") -> Response:
    """Show the editor with an example, or with what a run was sent."""
    if run:
        return _page(visit, _sent(visit, run))
    chosen = next((one for one in EXAMPLES if one.slug == example), None)
    if example and chosen is None:
        raise NotFound(f"There is no example {example!r}.")
    chosen = chosen or EXAMPLES[0]
    return _page(visit, Draft(tenant, chosen.code, chosen.event), example=chosen.slug)


@router.post("/playground")
def send(visit: Visiting, form: Form) -> Response:
    """Run the program, or only look it through; what is wrong with it is shown beside it."""
    draft = _draft(form)
    try:
        if text(form, "do", "run") == "check":
            return _page(visit, draft, checked=_check(visit, draft))
        checked = _check(visit, draft)
        if checked.problem is not None:
            return _page(visit, draft, checked=checked, status=422)
        plan = Plan(draft.files, _event(draft.event), draft.pipeline, _repository(draft), draft.ref)
        run, _ = visit.services.plans.start(visit.actor, draft.tenant, plan)
    except Bug:
        raise  # ours: it goes into the server's log
    except StepwellError as error:
        wrong = error
        return told(wrong, lambda status: _page(visit, draft, wrong=wrong, status=status))
    return to(visit.services.runs.summary(visit.actor, run.id).url)


@router.post("/playground/check")
def check(visit: Visiting, form: Form) -> Response:
    """Give the part of the page that tells what a program will do."""
    draft = _draft(form)
    checked = _check(visit, draft)
    return packed.page(visit.request, visit.web.templates.render("_outline.html", {"checked": checked, "wrong": None}))


def _sent(visit: Visit, run: str) -> Draft:
    """Everything that a plan's run was started with."""
    view = visit.services.runs.get(visit.actor, run)
    sent = view.summary
    if not sent.plan:
        raise NotFound(f"Run #{sent.number} of {sent.scope} has no plan: its program is in the repository.")
    files = dict(visit.services.plans.files(visit.actor, sent.tenant, sent.plan))
    code = files.pop(ENTRY, "")
    event = json.dumps(view.event.get("payload"), ensure_ascii=False)
    named = (view.event.get(name) for name in ("branch", "tag", "sha"))
    ref = str(next(filter(None, named), "")) if view.workspace else ""
    return Draft(sent.tenant, code, event, sent.pipeline, view.workspace, ref, files)


def _check(visit: Visit, draft: Draft) -> Checked:
    return visit.services.plans.check(visit.actor, draft.tenant, draft.files)


def _draft(form: Any) -> Draft:
    code = _lines(text(form, "code"))
    others = {path: _lines(written) for path, written in fields(form, FILE).items()}
    event, pipeline, repository, ref = (
        text(form, name, "").strip() for name in ("event", "pipeline", "repository", "ref")
    )  # fmt: skip
    return Draft(text(form, "tenant"), code, event, pipeline, repository, ref, others)


def _lines(written: str) -> str:
    """Undo what browsers do to the lines of a form."""
    return written.replace("\r\n", "\n")


def _event(written: str) -> Any:
    try:
        return json.loads(written or "null")
    except ValueError as error:
        raise Invalid(f"The event is no JSON: {error}.") from error


def _repository(draft: Draft) -> str:
    tenant, slash, name = draft.repository.rpartition("/")
    if slash and tenant != draft.tenant:
        raise Invalid(f"The repository is of {tenant!r}, the plan of {draft.tenant!r}. Use one tenant.")
    return name


def _page(
    visit: Visit, draft: Draft, *, example: str = "", checked: Checked | None = None,
    wrong: StepwellError | None = None, status: int = 200,
) -> Response:  # fmt: skip
    tenants = [name for name in visit.actor.tenants if visit.actor.may("write", name, NO_REPOSITORY)]
    draft = replace(draft, tenant=draft.tenant or (tenants[0] if tenants else ""))
    url = visit.request.url
    address = f"{url.path}?{url.query}".rstrip("?") if visit.request.method == "POST" else ""
    return visit.page(
        "playground.html", crumbs=[("Playground", "/playground")], status=status, draft=draft, tenants=tenants,
        examples=EXAMPLES, example=example, checked=checked, wrong=wrong, address=address,
    )  # fmt: skip
