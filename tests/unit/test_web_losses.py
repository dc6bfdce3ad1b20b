from dataclasses import replace
from pathlib import Path

from fixture_runs import NOW, busy_run, step

from stepwell.ci.runs import StepLog
from stepwell.ci.views import AttemptView, StepView
from stepwell.store.log_files import Log
from stepwell_web import losses, panelview


def tried(*states: str, numbers: tuple[int, ...] = (1, 2, 3, 4)) -> StepView:
    attempts = tuple(
        AttemptView(n, state, NOW, NOW, None, None, 0, reason="zygote died" if state == "lost" else "")  # type: ignore[arg-type]
        for n, state in zip(numbers, states, strict=False)
    )
    return replace(step("build", states[-1], 0, 1), attempts=attempts, attempt=attempts[-1].number)


def test_a_lost_attempt_says_why_and_that_it_was_run_again() -> None:
    once = tried("lost", "passed")
    assert losses.told(once, 1) == ("This attempt was lost: zygote died. It was run again, which counts as no failure.")
    assert losses.told(once, 2) == "It was lost once: zygote died. It was run again, which counts as no failure."
    assert losses.told(tried("lost", "lost", "passed"), 3).startswith(
        "It was lost 2 times, the last time: zygote died."
    )
    assert losses.told(tried("failed", "passed"), 2) == ""


def test_a_function_that_was_lost_keeps_its_number_and_tells_of_its_next_attempt_when_that_is_over() -> None:
    runs = replace(tried("lost"), state="running", ended_at=None)
    over = tried("lost", "passed", numbers=(1, 1))
    reason = "It was lost once: zygote died. It {} run again, which counts as no failure."
    for one, verb in ((runs, "is"), (over, "was")):
        assert losses.told(one, 1) == reason.format(verb)
        assert losses.only_lost(one)
        view = replace(busy_run(), steps=(one,))
        panel = panelview.panel(view, one, StepLog(Log(Path("none")), 0, False), 1, panelview.Shown())
        assert (panel.state, list(panel.shards)) == (one.state, [])


def test_only_what_has_never_failed_was_run_again() -> None:
    assert losses.only_lost(tried("lost", "passed"))
    assert not losses.only_lost(tried("lost", "failed", "passed"))
    assert not losses.only_lost(tried("passed"))


def test_a_kill_says_what_begins_again_and_what_goes_on() -> None:
    view = busy_run()
    ponder = replace(step("ponder", "running", 0, None), kind="do")
    first = "Its process was killed. The run goes on in a new one, and nothing that has ended is done again."
    assert losses.killed(replace(view, steps=())) == first
    assert losses.killed(replace(view, steps=(ponder,))) == f"{first} “ponder” ran in it and begins again."
    both = (step("a", "running", 0, None), step("b", "running", 0, None))
    assert losses.killed(replace(view, steps=both)) == f"{first} 2 steps run in another process and go on."
