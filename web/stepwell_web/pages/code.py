"""A repository's code: files, history, commits with what became of them, branches and tags."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from starlette.responses import Response

from stepwell.ci.browsing import File, Folder
from stepwell.ci.views import RepositoryView, RunSummary
from stepwell.errors import NotFound
from stepwell.repos.latest import LastCommits
from stepwell_web import diffview, readme, sourceview, times, treeview
from stepwell_web.files import HEAD_BYTES, file_answer, picture_type
from stepwell_web.pages.repository import common, crumbs
from stepwell_web.visits import Visit, Visiting

router = APIRouter(include_in_schema=False)
PAGE = 50
SHOWN_BYTES = 512 * 1024
PAGE_SECONDS, WAIT_SECONDS = 0.02, 6.0
"""How long a page waits for a folder's last commits, and one that was asked to wait."""
RUNS = 200
"""Newest runs of a repository that commits and branches are told about."""


def place(repository: RepositoryView, page: str, **query: str | int) -> str:
    """Address of a page about a ref or path. Its templates call it; `address` there is that of the page itself."""
    asked = urlencode({name: value for name, value in query.items() if value}, safe="/")
    return f"{repository.url}/{page}" + (f"?{asked}" if asked else "")


def _values(visit: Visit, tenant: str, name: str, tab: str, ref: str) -> dict[str, Any]:
    values = common(visit, tenant, name, tab)
    browsing = visit.services.browsing
    branches, tags = browsing.names(visit.actor, tenant, name)
    tip = browsing.tip(visit.actor, tenant, name, ref)
    return {**values, "tip": tip, "branches": branches, "tags": tags, "place": place}


@router.get("/{tenant}/{name}/files")
def files(
    visit: Visiting, *, tenant: str, name: str, ref: str = "", path: str = "", plain: bool = False, wait: bool = False,
    skip: Annotated[int, Query(ge=0)] = 0, part: Annotated[str, Query(max_length=200)] = "",
) -> Response:  # fmt: skip
    """Show a folder or a file; with `plain`, Markdown as it was written.

    Of a large folder, a page behind the first `skip` entries, or of those with `part` in their names.
    The last commits of a folder's entries are shown when they are known in time; with `wait`, they are waited for.
    """
    values = _values(visit, tenant, name, "files", ref)
    repository, tip = values["repository"], values["tip"]
    values |= {
        "crumbs": crumbs(repository, ("Files", "")),
        "folder": None,
        "file": None,
        "readme": None,
        "way": (),
        "last": LastCommits(),
    }
    if not tip.sha:
        return visit.page("files.html", **values)
    found = visit.services.browsing.at(visit.actor, tenant, name, tip.sha, path)
    parts = [part for part in found.path.split("/") if part]
    paths = ["/".join(parts[: n + 1]) for n in range(len(parts))]
    upward = [(part, place(repository, "files", ref=ref, path=one)) for part, one in zip(parts, paths, strict=True)]
    values["way"] = upward
    if isinstance(found, File):
        return visit.page("files.html", **values | {"file": _file(visit, found, repository.url, tip.ref, plain)})
    listing = treeview.listed(found.entries, skip, part)
    last = visit.services.browsing.last_commits(
        visit.actor, tenant, name, tip.sha, found.path, wait_s=WAIT_SECONDS if wait else PAGE_SECONDS
    )
    listing = replace(listing, entries=visit.services.browsing.sized(visit.actor, tenant, name, listing.entries))
    shown = {"folder": found, "listing": listing, "last": last, "readme": _readme(visit, repository, tip.ref, found)}
    return visit.page("files.html", **values | shown)


def _readme(visit: Visit, repository: RepositoryView, ref: str, folder: Folder) -> readme.Readme | None:
    named = readme.find(folder.entries)
    if named is None:
        return None
    (entry,) = visit.services.browsing.sized(visit.actor, repository.tenant, repository.name, [named])
    if (entry.size or 0) > readme.LARGEST:
        words = f"It has {times.size(entry.size or 0)}; up to {times.size(readme.LARGEST)} are shown here."
        return readme.Readme(entry.name, entry.path, why_not=words)

    def read() -> bytes:
        browsing, (tenant, name) = visit.services.browsing, (repository.tenant, repository.name)
        return browsing.content(visit.actor, tenant, name, entry, limit=readme.LARGEST)

    return visit.web.readmes.of(entry.path, entry.sha, repository.url, ref, read)


def _file(visit: Visit, found: File, url: str, ref: str, plain: bool) -> dict[str, Any]:
    text = None
    if len(found.data) <= SHOWN_BYTES and b"\0" not in found.data:
        text = found.data.decode("utf-8", "replace")
    readable = bool(text) and readme.is_markdown(found.path) and len(found.data) <= readme.LARGEST
    read = None
    if readable and not plain:
        content = hashlib.sha256(found.data).hexdigest()
        read = visit.web.readmes.of(found.path, content, url, ref, lambda: found.data).html
    lines: Sequence[Any] = sourceview.coloured(found.path, text)[: sourceview.LINES] if text and not read else ()
    left = text.count("\n") + 1 - len(lines) if text and len(lines) == sourceview.LINES else 0
    picture = picture_type(found.data[:HEAD_BYTES]) is not None
    return {
        "path": found.path, "size": len(found.data), "text": text, "lines": lines, "left": left, "read": read,
        "readable": readable, "picture": picture,
    }  # fmt: skip


@router.get("/{tenant}/{name}/raw")
def raw(visit: Visiting, *, tenant: str, name: str, ref: str = "", path: str, picture: bool = False) -> Response:
    """Give a file as it is: text to look at, anything else to keep; never as something a browser would run.

    With `picture`, as an image if it is one.
    """
    browsing = visit.services.browsing
    tip = browsing.tip(visit.actor, tenant, name, ref)
    found = browsing.at(visit.actor, tenant, name, tip.sha, path) if tip.sha else None
    if not isinstance(found, File):
        raise NotFound(f"There is no file {path[:200]!r}.")
    if picture and (kind := picture_type(found.data[:HEAD_BYTES])):
        return file_answer([found.data], found.path, len(found.data), kind)
    text = b"\0" not in found.data
    leaf = found.path.rpartition("/")[2]
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "-._") else "-" for c in leaf)
    headers = {"Content-Disposition": f'{"inline" if text else "attachment"}; filename="{safe}"'}
    told = "text/plain; charset=utf-8" if text else "application/octet-stream"
    return Response(found.data, headers=headers, media_type=told)


@router.get("/{tenant}/{name}/commits")
def commits(
    visit: Visiting, *, tenant: str, name: str, ref: str = "", skip: Annotated[int, Query(ge=0)] = 0
) -> Response:
    """Show the history of a branch, each commit with the runs that it had."""
    values = _values(visit, tenant, name, "commits", ref)
    repository, tip = values["repository"], values["tip"]
    browsing = visit.services.browsing
    found = browsing.history(visit.actor, tenant, name, tip.sha, skip=skip, limit=PAGE + 1) if tip.sha else []
    older = place(repository, "commits", ref=ref, skip=str(skip + PAGE)) if len(found) > PAGE else ""
    newest = place(repository, "commits", ref=ref) if skip else ""
    return visit.page(
        "commits.html", crumbs=crumbs(repository, ("Commits", "")), commits=found[:PAGE], older=older, newest=newest,
        runs=_by_commit(visit, tenant, name), **values,
    )  # fmt: skip


def _by_commit(visit: Visit, tenant: str, name: str) -> dict[str, list[RunSummary]]:
    found: dict[str, list[RunSummary]] = {}
    for run in visit.services.runs.list(visit.actor, tenant=tenant, repository=name, limit=RUNS).items:
        found.setdefault(run.sha, []).append(run)
    return found


@router.get("/{tenant}/{name}/commits/{sha}")
def commit(visit: Visiting, *, tenant: str, name: str, sha: str) -> Response:
    """Show a commit: who and why, its runs, what it changed."""
    values = common(visit, tenant, name, "commits")
    found = visit.services.browsing.patch(visit.actor, tenant, name, sha)
    runs = visit.services.runs.list(visit.actor, tenant=tenant, repository=name, sha=sha, limit=20)
    subject, _, body = found.commit.message.strip().partition("\n")
    way = crumbs(values["repository"], ("Commits", f"/{tenant}/{name}/commits"), (sha[:7], ""))
    return visit.page(
        "commit.html", crumbs=way, commit=found.commit, subject=subject.strip(), body=body.strip(), runs=runs,
        files=diffview.files(found.text), whole=found.whole, place=place, **values,
    )  # fmt: skip


@router.get("/{tenant}/{name}/branches")
def branches(visit: Visiting, *, tenant: str, name: str) -> Response:
    """Show branches and tags with their last commit and last run."""
    values = common(visit, tenant, name, "branches")
    last: dict[tuple[str, str], RunSummary] = {}
    for run in visit.services.runs.list(visit.actor, tenant=tenant, repository=name, limit=RUNS).items:
        last.setdefault(("tag", run.tag) if run.tag else ("branch", run.branch), run)
    return visit.page(
        "branches.html", crumbs=crumbs(values["repository"], ("Branches", "")), last=last, place=place,
        refs=visit.services.browsing.refs(visit.actor, tenant, name), **values,
    )  # fmt: skip
