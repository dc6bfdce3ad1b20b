"""What somebody who is asked to approve needs to know: what goes out, in a sentence, and what is behind it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stepwell.ci.changes import ChangesSince, Commits
from stepwell.ci.deployments import Outgoing
from stepwell.ci.views import ApprovalView, RunLink, RunSummary, RunView, StepView
from stepwell_web import runview
from stepwell_web.templating import state_word


@dataclass(frozen=True)
class Review:
    """A question to people with what goes out; `approval` is None once it has been answered."""

    step: StepView
    approval: ApprovalView | None
    answer: str
    environment: str
    before: RunLink | None  # the run whose work is there now
    since: float | None  # when that came there
    sentence: str
    commits: Commits
    back: bool
    failed: Sequence[tuple[str, str]]  # names and addresses of failed steps
    legend: Sequence[tuple[str, int]]


def review(view: RunView, step: StepView, out: Outgoing | None, green: ChangesSince | None) -> Review:
    """Put together what an approval is about: `out` when it is for an environment, else what came since `green`."""
    approval = next((one for one in view.approvals if one.key == step.key), None)
    commits = out.commits if out else green.commits if green else Commits()
    run = out.now.run if out and out.now else green.green if green and not out else None
    failed = [(one.name, runview.href(view, one)) for one in view.steps if one.state == "failed"]
    return Review(
        step, approval, _answer(step), step.environment, _link(run), out.now.at if out and out.now else None,
        _of_environment(view.summary, step.environment, out) if out else _of_green(green), commits,
        bool(out and out.back), failed, runview.legend(view),
    )  # fmt: skip


def _link(run: RunSummary | None) -> RunLink | None:
    return RunLink(run.id, run.number, run.url) if run else None


def _answer(step: StepView) -> str:
    said = step.value if isinstance(step.value, Mapping) else {}
    by = said.get("by")
    if step.state == "passed" and by:
        comment = f": “{said['comment']}”" if said.get("comment") else "."
        return f"Approved by {', '.join(by) if isinstance(by, list) else by}{comment}"
    return step.error["message"] if step.error else f"{state_word(step.state)}."


def _of_environment(run: RunSummary, name: str, out: Outgoing) -> str:
    if out.now is None:
        return f"Nothing is known to be in {name} yet: this would be the first to go there."
    if out.now.run.id == run.id:
        return f"This run has brought something to {name} already."
    if out.commits.gone:
        return f"The commit that is in {name} now is not in the repository any more, so nothing can be compared."
    if out.back:
        return f"{name} goes back by {_counted(out.commits)}."
    if out.now.run.sha == run.sha:
        return f"{name} has this very commit already."
    return f"{_counted(out.commits)} go to {name}." if out.commits.listed else f"No new commit goes to {name}."


def _of_green(green: ChangesSince | None) -> str:
    if green is None:
        return "No run of this pipeline has passed before."
    return f"{_counted(green.commits)} since the last run that passed."


def _counted(commits: Commits) -> str:
    files = len(commits.paths.paths)
    many = (
        "no files" if not files else f"{files}{'' if commits.paths.complete else '+'} file{'s' if files != 1 else ''}"
    )
    return f"{commits.count} commit{'s' if commits.count != 1 else ''}, {many}"
