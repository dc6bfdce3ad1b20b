"""Addresses of every page over the services in memory, by what is looked at there."""

RUN = "/acme/payments-api/runs/1842"
PAGES = {
    "home": "/", "approvals": "/approvals", "tenant": "/acme", "repository": "/acme/payments-api", "run": RUN,
    "run of a wrong program": "/acme/payments-api/runs/1841", "diverged run": "/acme/payments-api/runs/1836",
    "long log": "/acme/payments-api/runs/1840?step=hello",
    "function": f"{RUN}?step=version",
    "playground": "/playground?example=people",
    "groups": f"{RUN}?step=install",
    "review": f"{RUN}/review?key=load%20test%231",
    "found": f"{RUN}?step=unit-3.13&find=assert", "queued step": f"{RUN}?step=load-test", "journal": f"{RUN}/journal",
    "source": f"{RUN}/source", "timeline": "/acme/payments-api/runs/1839/timeline",
    "timeline of a run that goes on": f"{RUN}/timeline", "changes": f"{RUN}/changes",
    "nothing to compare with": "/acme/payments-api/runs/1840/changes",
    "no source": "/acme/payments-api/runs/1841/source",
    "runs": "/acme/payments-api/runs?state=failed&branch=main", "runs of a tenant": "/acme/-/runs",
    "settings": "/acme/payments-api/settings", "pipelines": "/acme/payments-api/pipelines",
    "files": "/acme/payments-api/files", "file": "/acme/payments-api/files?path=src/refunds.py",
    "binary file": "/acme/payments-api/files?path=logo.png", "commits": "/acme/payments-api/commits",
    "commit": f"/acme/payments-api/commits/7c1e9d4{'0' * 33}", "branches": "/acme/payments-api/branches",
    "environments": "/acme/payments-api/environments",
    "caches": "/acme/payments-api/caches", "people": "/acme/-/people", "usage": "/acme/-/usage",
    "audit": "/acme/-/audit", "dead runs": "/acme/-/dead", "runners": "/acme/-/runners", "secrets": "/acme/-/secrets",
    "search": "/search?q=round",
    "broken pipeline": "/acme/broken/pipelines", "tokens": "/tokens", "not found": "/acme/nope",
}  # fmt: skip
EMPTY_PAGES = {
    "no runs": "/acme/new-project/runs",
    "first home": "/",
    "first repository": "/acme/new-project",
    "no approvals": "/approvals",
    "first tenant": "/acme",
    "nothing found": "/search?q=round",
    "no usage": "/acme/-/usage",
    "no audit": "/acme/-/audit",
    "idle runner": "/acme/-/runners",
    "no files": "/acme/new-project/files",
    "no caches": "/acme/new-project/caches",
    "no branches": "/acme/new-project/branches",
}
OPEN_PAGES = {"sign in": "/signin", "sign in by link": "/signin?code=x"}
