"""The search in the logs of a repository's or a tenant's runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from stepwell_web.pages.repository import common, crumbs
from stepwell_web.pages.runs import STATES, Filtered, Filters
from stepwell_web.pages.tenant import common as of_the_tenant
from stepwell_web.runsearch import LEAST, listing
from stepwell_web.visits import Visit, Visiting

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class Asked:
    """What the address asks: a text, in which runs, and from which on."""

    text: str
    wanted: Filters
    cursor: str | None


async def asked(wanted: Filtered, q: Annotated[str, Query(max_length=200)] = "", cursor: str | None = None) -> Asked:
    """Read the address."""
    return Asked(q.strip(), wanted, cursor)


Asking = Annotated[Asked, Depends(asked)]


@router.get("/{tenant}/-/logs")
def of_tenant(visit: Visiting, *, tenant: str, asked: Asking) -> Response:
    """Search the logs of the runs of all of a tenant's repositories."""
    values = {**of_the_tenant(visit, tenant, "runs", "Search logs"), "repository": None}
    return _page(visit, (tenant, ""), asked, values)


@router.get("/{tenant}/{name}/logs")
def of_repository(visit: Visiting, *, tenant: str, name: str, asked: Asking) -> Response:
    """Search the logs of a repository's runs."""
    values = common(visit, tenant, name, "runs")
    values["crumbs"] = crumbs(values["repository"], ("Runs", f"/{tenant}/{name}/runs"), ("Search logs", ""))
    return _page(visit, (tenant, name), asked, values)


def _page(visit: Visit, place: tuple[str, str], asked: Asked, values: Mapping[str, Any]) -> Response:
    runs, (tenant, name), wanted, found = visit.services.runs, place, asked.wanted, None
    if len(asked.text) >= LEAST:
        listed = listing(
            runs, visit.actor, tenant=tenant, repository=name or None, state=wanted.state or None,
            pipeline=wanted.pipeline or None, branch=wanted.branch or None,
        )  # fmt: skip
        found = visit.web.run_search.find(runs, visit.actor, asked.text, listed, asked.cursor or None)
    base = f"/{tenant}/{name or '-'}"
    address = f"{base}/logs?{wanted.query(q=asked.text)}"
    return visit.page(
        "runsearch.html", base_url=f"{base}/logs", list_url=f"{base}/runs", q=asked.text, wanted=wanted, found=found,
        choices=runs.choices(visit.actor, tenant, name), states=STATES,
        older=f"{address}&{urlencode({'cursor': found.rest})}" if found and found.rest else "",
        newest=address if asked.cursor else "", **values,
    )  # fmt: skip
