"""The panel of a step: what it says beside the log, and instead of one."""

from dataclasses import replace
from pathlib import Path

import pytest
from fixture_runs import NOW, busy_run, step, summary

from stepwell.ci.runs import StepLog
from stepwell.errors import NotFound
from stepwell.store.log_files import Log
from stepwell_web import panelview, runview


def test_a_call_links_to_the_run_that_it_made() -> None:
    call = step("deploy", "waiting", 0, None, kind="call", command="", child={"run": "c0ffee", "number": 43})
    view = replace(busy_run(), steps=(call,))
    panel = panelview.panel(view, call, StepLog(Log(Path("none")), 0, False), 0, panelview.Shown())
    summary = view.summary
    assert panel.child == ("#43", f"/{summary.tenant}/{summary.repository}/runs/43")
    assert panel.empty == "Its log is in the run that it called."


def test_a_promotion_says_what_it_moved() -> None:
    words = "moved refs/heads/stable from abc1234 to def5678"
    moved = step("stable", "passed", 0, 1, kind="binding", command="", reason=words)
    view = replace(busy_run(), steps=(moved,))
    panel = panelview.panel(view, moved, StepLog(Log(Path("none")), 0, False), 0, panelview.Shown())
    assert panel.empty == f"It {words}."


def test_services_beside_a_step_have_logs_of_their_own() -> None:
    one = step("test", "running", 0, None, options={"services": {"db": {"image": "postgres:16"}}})
    view = replace(busy_run(), steps=(one, step("odd", "passed", 0, 1, options={"services": 3})))
    panel = panelview.panel(view, one, StepLog(Log(Path("none")), 1, False), 1, panelview.Shown())
    assert panel.services == [("db", f"{view.summary.url}/raw?attempt=1&step=test%40db")]
    assert runview.key_of(view, "test@db") == "test#1@db"
    for unknown in ("test@cache", "odd@db", "none@db"):
        with pytest.raises(NotFound):
            runview.key_of(view, unknown)


def test_connections_of_an_attempt_stand_under_its_step() -> None:
    view = busy_run()
    install = next(one for one in view.steps if one.name == "install")
    shown = panelview.panel(view, install, StepLog(Log(Path("none")), 1, False), 1, panelview.Shown()).connections
    assert shown is not None
    assert shown.about == "22 connections, 2 refused"
    assert shown.places[0] == ("packages.example:443", 4, 5_120, 88_064, "")
    assert shown.places[2][0] == "[2606:4700::6812:2]:8443"
    assert shown.places[3][4].startswith("not a public address")
    other = next(one for one in view.steps if one.name == "lint")
    assert panelview.panel(view, other, StepLog(Log(Path("none")), 1, False), 1, panelview.Shown()).connections is None


def test_an_approval_that_waits_is_not_told_of_again_beside_the_head_of_the_run() -> None:
    none = StepLog(Log(Path("none")), 0, False)
    asks = step("Ship it?", "waiting", 0, None, kind="approval", reason="0 of 1 approved for production")
    view = replace(busy_run(), summary=summary(state="waiting", counts={"waiting": 1}), steps=(asks,), approvals=())
    panel = panelview.panel(view, asks, none, 0, panelview.Shown())
    assert (panel.about, "State" in dict(panel.facts), panel.empty) == ("", False, "People are asked above.")
    other = replace(asks, key="other#1", reason="1 of 2 approved for staging")
    panel = panelview.panel(replace(view, steps=(asks, other)), other, none, 0, panelview.Shown())
    assert panel.about == "1 of 2 approved for staging"


def test_a_step_that_sleeps_says_until_when() -> None:
    view = busy_run()
    night = replace(view.steps[0], kind="sleep", state="waiting", due=NOW + 3600, ended_at=None)
    none = StepLog(Log(Path("none")), 0, False)
    panel = panelview.panel(view, night, none, 0, panelview.Shown())
    assert (panel.empty, panel.until) == ("It sleeps until", NOW + 3600)
    panel = panelview.panel(view, replace(night, state="passed"), none, 0, panelview.Shown())
    assert (panel.empty, panel.until) == ("A sleep has no log.", None)
