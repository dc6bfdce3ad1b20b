"""Jinja templates, what they may call, and the addresses of static files.

Everything is escaped unless the code that made it says it is HTML (`Markup`): graph, icons and log lines do.
"""

import gzip
import hashlib
import json
import re
import time
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from stepwell.authoring.durations import spoken
from stepwell.ci.views import RunSummary
from stepwell_web import reasons, times, unseen
from stepwell_web.auditwords import did
from stepwell_web.icons import icon, state_icon
from stepwell_web.scripts import joined

HERE = Path(__file__).parent
STATIC = HERE / "static"
_EVERY_PAGE = ("base.css", "frame.css", "forms.css", "lists.css", "approvals.css", "dialogs.css", "narrow.css")
JOINED: Mapping[str, tuple[str, ...]] = {
    "pages.css": _EVERY_PAGE,
    "run-steps.css": (*_EVERY_PAGE, "run.css"),
    "run-tabs.css": (*_EVERY_PAGE, "run.css", "tabs.css"),
}
"""Style sheets that are sent as one: the first paint of a page waits for each that it asks for."""
SCRIPTS: Mapping[str, str] = {"run-page.js": "run"}
"""Modules that are sent with all that they import, for the page that people wait for most."""
_COMMENTS = re.compile(rb"^ *//.*$", re.MULTILINE)
"""Lines of scripts that hold nothing else; an empty line is left, so that an error still tells the right one."""
_WORDS = {
    "queued": "Queued", "running": "Running", "waiting": "Waiting", "paused": "Paused", "passed": "Passed",
    "failed": "Failed",
    "cancelled": "Cancelled", "diverged": "Diverged", "retrying": "Retrying", "skipped": "Skipped",
}  # fmt: skip
_DEEDS = {
    "push": "pushed", "tag": "tagged", "cron": "by schedule", "manual": "started", "workflow": "created by a run",
    "plan": "sent this plan",
}  # fmt: skip


class Templates:
    """The pages' templates with the clock they read."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self.now = now
        self._env = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            auto_reload=False,  # or each page would look at every file that it is made of
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._env.globals.update(icon=icon, state_icon=state_icon, static=static, moment=self.moment, until=self.until)
        self._env.globals.update(exact_moment=self.exact_moment, listed_moment=self.listed_moment, zone=zone)
        self._env.filters.update(
            did=did, initials=initials, word=word, tone=tone, deed=lambda kind: _DEEDS.get(kind, kind), title=title,
            took=self.took, duration=times.duration, brief=reasons.brief, spoken=spoken, size=times.size, why=why,
            favicon=favicon, shown=unseen.shown,
        )  # fmt: skip

    def render(self, template: str, values: Mapping[str, Any]) -> str:
        """Render a page."""
        return unseen.page(self._env.get_template(template).render(values))

    def moment(self, at: float) -> Markup:
        """Write a moment: relative words, the exact time in the tooltip and for machines."""
        return Markup(f"<time {_exactly(at)}>{escape(times.relative(at, self.now()))}</time>")  # noqa: S704

    def exact_moment(self, at: float) -> Markup:
        """Write the day and the time of day of a moment, in UTC; scripts write it anew in the reader's zone."""
        return Markup(f'<time {_exactly(at)} data-form="day">{times.day_clock(at)}</time>')  # noqa: S704

    def listed_moment(self, at: float, above: float | None) -> Markup:
        """Write a moment as a list does whose row above tells of another one, in UTC."""
        return Markup(f'<time {_exactly(at)} data-form="listed">{times.listed(at, above)}</time>')  # noqa: S704

    def until(self, at: float) -> Markup:
        """Write the moment at which something goes on, and in how long that is."""
        now = self.now()
        left = f', <span class="num" data-due="{at}">in {times.duration(at - now)}</span>' if at > now else ""
        form = "until" if times.is_near(at, now) else "date"
        return Markup(f'<time {_exactly(at)} data-form="{form}">{times.until(at, now)}</time>{left}')  # noqa: S704

    def took(self, run: RunSummary) -> str:
        """How long a run has taken, up to now if it goes on."""
        return times.duration((run.ended_at or self.now()) - (run.started_at or run.created_at))


def zone(at: float) -> Markup:
    """Name the zone that the times of day beside it, which begin at a moment, are told in."""
    return Markup(f'<span data-zone="{at}">UTC</span>')  # noqa: S704


@lru_cache(4096)
def _exactly(at: float) -> str:
    return f'datetime="{times.iso(at)}" title="{times.exact(at)}"'


def word(run: RunSummary) -> str:
    """Say the state of a run in one word; a run that goes on after a failed step is failing."""
    return "Failing" if tone(run) == "failed" and run.state != "failed" else _WORDS[run.state]


def tone(run: RunSummary) -> str:
    """Say which state's shape and colour a run bears."""
    return "failed" if run.state == "running" and run.counts.get("failed") else run.state


_ICONS = {
    "passed": "passed", "failed": "failed", "diverged": "failed", "running": "running", "queued": "running",
    "waiting": "waiting", "paused": "waiting",
}  # fmt: skip


def favicon(run: RunSummary) -> str:
    """Address of the icon that tells a run's state in the browser's tab."""
    return static(f"favicon-{_ICONS.get(tone(run), 'idle')}.svg")


def state_word(state: str) -> str:
    """Say the state of a step in one word."""
    return _WORDS.get(state, state)


def title(run: RunSummary) -> str:
    """Say what a run is about: the commit's message where there is one."""
    return run.title or run.message or run.pipeline


def why(run: RunSummary, words: str) -> Markup:
    """Write words on a run; other runs of its repository that they name are links."""
    link = Markup('run <a href="/{}/{}/runs/{}">#{}</a>')
    parts = re.split(r"\brun #(\d+)\b", words)
    written = (
        link.format(run.tenant, run.repository, part, part) if n % 2 else escape(part) for n, part in enumerate(parts)
    )
    return Markup("").join(written)


def initials(name: str) -> str:
    """Shorten a name to one or two letters."""
    words = [w for w in name.replace("-", " ").replace(".", " ").replace("_", " ").split() if w]
    return ("".join(w[0] for w in words[:2]) if len(words) > 1 else name[:2]).upper()


def static(name: str) -> str:
    """Address of a static file. The build stands in the path, not the query: modules import each other relatively, and
    one that is reached under two addresses would run twice."""
    return f"/static/{build()}/{name}"


@cache
def build() -> str:
    """Short hash of all static files: they may be kept for ever under it."""
    digest = hashlib.sha256(repr(JOINED).encode())
    for path in sorted(STATIC.iterdir()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    for name in SCRIPTS:
        digest.update(_content(name))
    return digest.hexdigest()[:12]


@cache
def static_names() -> frozenset[str]:
    """Names of all static files, and of those that are sent as one."""
    return frozenset([*(path.name for path in STATIC.iterdir()), *JOINED, *SCRIPTS])


@cache
def static_packed(name: str) -> bytes:
    """Content of a static file as gzip: it is packed once, so as tightly as can be; comments of scripts stay here."""
    content = _content(name)
    return gzip.compress(_COMMENTS.sub(b"", content) if name.endswith(".js") else content, 9, mtime=0)


def _content(name: str) -> bytes:
    if name in SCRIPTS:
        return joined(SCRIPTS[name], lambda module: (STATIC / f"{module}.js").read_text()).encode()
    return b"".join((STATIC / part).read_bytes() for part in JOINED.get(name, (name,)))


def as_json(value: Any) -> str:
    """Write a step's result for people."""
    return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
