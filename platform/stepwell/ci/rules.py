"""Rules of environments: who may approve, how many must, from which branches, and how long steps wait. Pure.

A step or approval that names an environment stands under its rules; an approval's own `reviewers` and `count` can only
add to them. Two things meet the rules: a passed approval for the environment in the same run, or a step of the run that
was held for it and released by people. An environment that nobody has set up has no rules and no secrets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from stepwell.ci.triggers import matches_any
from stepwell.engine.state import RunState, StepState

TAGS = "tags/"


@dataclass(frozen=True)
class Rules:
    """An environment's rules. `count` 0: nobody is asked. Empty `reviewers`: everybody with the right to approve.

    `wait` are the seconds between the first question for the environment in a run and the first step in it.

    `branches` are globs; those that begin with `tags/` are for tags, others for branches. Empty: every branch and tag.
    """

    environment: str = ""
    reviewers: tuple[str, ...] = ()
    count: int = 0
    branches: tuple[str, ...] = ()
    forbid_author: bool = False
    wait: float = 0.0

    def refuses(self, metadata: Mapping[str, Any]) -> str:
        """Say why a run must not use the environment; "" when it may."""
        if not self.branches or covers(self.branches, metadata):
            return ""
        allowed = ", ".join(self.branches)
        return f"Environment {self.environment!r} takes only {allowed}; this run is for {ref_of(metadata)}."


def covers(globs: Sequence[str], metadata: Mapping[str, Any]) -> bool:
    """Say whether a run is for one of these branches, or of the tags behind `tags/`."""
    branch, tag = str(metadata.get("branch") or ""), str(metadata.get("tag") or "")
    for_tags = [glob for glob in globs if glob.startswith(TAGS)]
    for_branches = [glob for glob in globs if not glob.startswith(TAGS)]  # a branch may be called tags/v1
    return bool((branch and matches_any(for_branches, branch)) or (tag and matches_any(for_tags, TAGS + tag)))


def ref_of(metadata: Mapping[str, Any]) -> str:
    """Say in words what a run is for."""
    branch, tag = str(metadata.get("branch") or ""), str(metadata.get("tag") or "")
    return f"tag {tag!r}" if tag else f"branch {branch!r}" if branch else "a commit without a branch"


@dataclass(frozen=True)
class Asked:
    """A question to people as it stands: the environment's rules joined with what the code asked for."""

    rules: Rules
    reviewers: tuple[str, ...] | None  # None: everybody with the right to approve
    count: int
    fields: Mapping[str, Any]

    def why_not(self, name: str, metadata: Mapping[str, Any], said: Mapping[str, bool]) -> str:
        """Say why this person may not decide; "" when they may. `said` are the decisions so far, name → approve."""
        if why := self.rules.refuses(metadata):
            return why
        if self.reviewers is not None and name not in self.reviewers:
            listed = ", ".join(self.reviewers) or "nobody"
            return f"Only its reviewers decide: {listed}."
        if self.rules.forbid_author and name in authors(metadata):
            return f"Environment {self.rules.environment!r} forbids those who started the run to approve it."
        return "You have decided already." if name in said else ""


def question(rules: Rules, step: StepState) -> Asked:
    """Join an environment's rules with an approval's own settings."""
    options = step.options if step.kind == "approval" else {}
    wanted = tuple(options.get("reviewers") or ())
    reviewers: tuple[str, ...] | None = rules.reviewers or wanted or None
    if rules.reviewers and wanted:
        reviewers = tuple(name for name in rules.reviewers if name in wanted)
    count = max(1, rules.count, int(options.get("count") or 1))
    return Asked(rules, reviewers, count, options.get("fields") or {})


def authors(metadata: Mapping[str, Any]) -> set[str]:
    """Return who started the run: the pusher, and who ran it again."""
    return {str(name) for name in (metadata.get("actor"), metadata.get("author")) if name}


def said(step: StepState) -> dict[str, bool]:
    """Return the decisions so far, name → approve; a person's last word counts."""
    return {str(decision["by"]): bool(decision["approve"]) for decision in step.decisions}


def verdict(rules: Rules, run: RunState, step: StepState) -> Literal["approved", "rejected"] | None:
    """Judge the decisions: one rejection rejects, `count` different people approve. Those barred do not count."""
    asked = question(rules, step)
    counted = {name: yes for name, yes in said(step).items() if not asked.why_not(name, run.metadata, {})}
    if not all(counted.values()):
        return "rejected"
    return "approved" if len(counted) >= asked.count else None


def satisfied(run: RunState, environment: str) -> bool:
    """Say whether people have already agreed to this environment in this run."""
    for step in run.steps.values():
        if step.options.get("environment") != environment:
            continue
        if step.kind == "approval" and step.state == "passed":
            return True
        if step.released_by and step.released_by != RULES:
            return True
    return False


def not_before(rules: Rules, run: RunState, step: StepState) -> float | None:
    """Return the time from which the step may begin, None when its environment has no waiting time."""
    if not rules.wait or rules.refuses(run.metadata):
        return None
    asked = (one.asked_at for one in run.steps.values() if one.options.get("environment") == rules.environment)
    return min(asked, default=step.asked_at) + rules.wait


RULES = "rules"
"""Who released a step when no person did: the rules had changed."""
