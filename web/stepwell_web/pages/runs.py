"""Lists of runs, of a repository and of a tenant: filters in the address, bars of every pipeline's last runs."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends
from starlette.responses import Response

from stepwell.ci.history import KINDS
from stepwell_web.pages.repository import common, crumbs
from stepwell_web.pages.tenant import common as of_the_tenant
from stepwell_web.pages.trends import trend_rows
from stepwell_web.visits import Visit, Visiting

router = APIRouter(include_in_schema=False)
PAGE = 30
STATES = ("queued", "running", "waiting", "paused", "passed", "failed", "cancelled", "diverged")


@dataclass(frozen=True)
class Filters:
    """What the address narrows the list to; empty fields do not."""

    text: str = ""
    pipeline: str = ""
    state: str = ""
    kind: str = ""
    branch: str = ""
    actor: str = ""

    def query(self, **changes: str) -> str:
        """Write the filters as a query, without empty ones."""
        return urlencode({name: value for name, value in {**asdict(self), **changes}.items() if value})


async def filters(
    *, text: str = "", pipeline: str = "", state: str = "", kind: str = "", branch: str = "", actor: str = ""
) -> Filters:
    """Read the filters of an address. Asynchronous although it waits for nothing: else a thread would be asked."""
    return Filters(*(value.strip() for value in (text, pipeline, state, kind, branch, actor)))


Filtered = Annotated[Filters, Depends(filters)]


@router.get("/{tenant}/-/runs")
def of_tenant(visit: Visiting, *, tenant: str, wanted: Filtered, cursor: str | None = None) -> Response:
    """Show the runs of all of a tenant's repositories."""
    values = {**of_the_tenant(visit, tenant, "runs", "Runs"), "repository": None}
    return _page(visit, (tenant, ""), wanted, cursor, values)


@router.get("/{tenant}/{name}/runs")
def of_repository(visit: Visiting, *, tenant: str, name: str, wanted: Filtered, cursor: str | None = None) -> Response:
    """Show a repository's runs."""
    values = common(visit, tenant, name, "runs")
    values["crumbs"] = crumbs(values["repository"], ("Runs", ""))
    return _page(visit, (tenant, name), wanted, cursor, values)


def _page(
    visit: Visit, place: tuple[str, str], wanted: Filters, cursor: str | None, values: Mapping[str, Any]
) -> Response:
    runs, (tenant, name) = visit.services.runs, place
    found = runs.list(
        visit.actor, tenant=tenant, repository=name or None, state=wanted.state or None,
        pipeline=wanted.pipeline or None, branch=wanted.branch or None, by=wanted.actor or None,
        kind=wanted.kind or None, text=wanted.text or None, cursor=cursor or None, limit=PAGE,
    )  # fmt: skip
    base = f"/{tenant}/{name or '-'}/runs"
    return visit.page(
        "runs.html", base_url=base, wanted=wanted, filtered=bool(wanted.query()), cursor=cursor,
        runs=found, choices=runs.choices(visit.actor, tenant, name), states=STATES, kinds=KINDS,
        trends=[] if cursor else trend_rows(visit, tenant, name, wanted.pipeline, wanted.branch),
        older=f"{base}?{wanted.query(cursor=found.next)}" if found.next else "",
        newest=f"{base}?{wanted.query()}" if cursor else "",
        logs_url=f"/{tenant}/{name or '-'}/logs?{_of_logs(wanted)}".rstrip("?"), **values,
    )  # fmt: skip


def _of_logs(wanted: Filters) -> str:
    """Write the filters that a search in logs has, too."""
    shared = Filters(pipeline=wanted.pipeline, state=wanted.state, branch=wanted.branch)
    return shared.query(q=wanted.text)
