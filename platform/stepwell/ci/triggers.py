"""Which pipelines an event starts: pure matching of declared triggers.

Globs follow one rule for branches, tags and paths: `*` and `?` stay inside one folder (`release/*` matches `release/1`,
not `release/1/x`), `**` crosses folders, `[ab]` is a set. A push matches when its branch matches one of the trigger's
branches (none given: every branch) and, if the trigger names paths, one changed path matches one of them. Where the
changed paths are unknown or too many to list, a trigger with paths matches: a run too many is better than one missing.
Deleting a branch or tag starts nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from stepwell.authoring.globs import glob_pattern

Kind = Literal["push", "tag", "cron", "manual"]


@dataclass(frozen=True)
class Declared:
    """A pipeline as it declares itself at one commit; `on` in the form that the isolate tells."""

    name: str
    entry: str
    doc: str = ""
    line: int = 0
    on: tuple[Mapping[str, Any], ...] = ()
    concurrency: Mapping[str, Any] | None = None
    rate_limit: Mapping[str, Any] | None = None
    priority: int = 0

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> "Declared":
        """Read the isolate's answer."""
        return cls(
            name=str(told["name"]),
            entry=str(told["entry"]),
            doc=str(told.get("doc") or ""),
            line=int(told.get("line") or 0),
            on=tuple(told.get("on") or ()),
            concurrency=told.get("concurrency"),
            rate_limit=told.get("rate_limit"),
            priority=int(told.get("priority") or 0),
        )


@dataclass(frozen=True)
class Moved:
    """A branch or tag that a push has moved. `changed` None: not known."""

    branch: str = ""
    tag: str = ""
    changed: Sequence[str] | None = field(default=())


def matches(glob: str, text: str) -> bool:
    """Say whether a branch, tag or path matches a glob."""
    return glob_pattern(glob).fullmatch(text)


def matches_any(globs: Iterable[str], text: str) -> bool:
    """Say whether one of the globs matches."""
    return any(matches(glob, text) for glob in globs)


def started_by(pipelines: Iterable[Declared], moved: Moved) -> list[Declared]:
    """Return the pipelines that the push starts, each once."""
    return [pipeline for pipeline in pipelines if any(_starts(trigger, moved) for trigger in pipeline.on)]


def _starts(trigger: Mapping[str, Any], moved: Moved) -> bool:
    if trigger["kind"] == "tag":
        patterns = trigger.get("patterns") or ()
        return bool(moved.tag) and (not patterns or matches_any(patterns, moved.tag))
    if trigger["kind"] != "push" or not moved.branch:
        return False
    branches, paths = trigger.get("branches") or (), trigger.get("paths") or ()
    if branches and not matches_any(branches, moved.branch):
        return False
    return not paths or moved.changed is None or any(matches_any(paths, path) for path in moved.changed)


def crons(pipelines: Iterable[Declared]) -> list[tuple[Declared, str, str]]:
    """Return (pipeline, schedule, time zone) of every cron trigger."""
    return [
        (pipeline, str(trigger["schedule"]), str(trigger.get("tz") or "UTC"))
        for pipeline in pipelines
        for trigger in pipeline.on
        if trigger["kind"] == "cron"
    ]


def manual_inputs(pipeline: Declared) -> Mapping[str, Any] | None:
    """Return the fields of the start form, name → choices or default; None when it cannot be started by hand."""
    for trigger in pipeline.on:
        if trigger["kind"] == "manual":
            inputs: Mapping[str, Any] = trigger.get("inputs") or {}
            return inputs
    return None


def described(trigger: Mapping[str, Any]) -> str:
    """Put a trigger in words."""
    kind = trigger["kind"]
    if kind == "push":
        branches = ", ".join(trigger.get("branches") or ()) or "any branch"
        paths = ", ".join(trigger.get("paths") or ())
        return f"push to {branches}" + (f" that changes {paths}" if paths else "")
    if kind == "tag":
        return f"tag {', '.join(trigger.get('patterns') or ()) or 'of any name'}"
    if kind == "cron":
        return f"cron {trigger['schedule']} ({trigger.get('tz') or 'UTC'})"
    return "by hand"
