"""The bars of pipelines, as several pages show them."""

from urllib.parse import urlencode

from stepwell_web import trendview
from stepwell_web.trendview import TrendRow
from stepwell_web.visits import Visit


def trend_rows(visit: Visit, tenant: str, name: str, pipeline: str = "", branch: str = "") -> list[TrendRow]:
    """Give the bars of every pipeline, or of one, on all branches or on one."""
    now = visit.web.templates.now()
    found = visit.services.trends.of(visit.actor, tenant, name, branch)
    return [
        trendview.row(one, f"/{one.scope}/runs?{urlencode({'pipeline': one.pipeline})}", now, whole_name=not name)
        for one in found
        if pipeline in ("", one.pipeline)
    ]
