"""`pytest .stepwell`, where stepwell is installed."""

from pipeline import Ship
from stepwell import ApprovalTimeout, Result
from stepwell.testing import play

MAIN = {"kind": "push", "branch": "main", "number": 7}


def test_main_is_shipped_after_a_yes():
    played = play(Ship, MAIN, default=Result(), decisions={"Ship *": True})
    assert played.state == "passed", played.error
    assert played.steps[-1] == "deploy"
    assert played.step("deploy").options["secrets"] == ["DEPLOY_KEY"]


def test_nothing_is_shipped_when_a_test_fails():
    played = play(Ship, MAIN, default=Result(), results={"test sqlite": 1})
    assert played.state == "failed" and "deploy" not in played.steps


def test_nobody_answers_for_a_week():
    played = play(Ship, MAIN, default=Result(), decisions={"Ship *": ApprovalTimeout})
    assert played.error.type == "ApprovalTimeout" and played.seconds >= 7 * 86400
