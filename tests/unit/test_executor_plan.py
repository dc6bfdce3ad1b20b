"""What a step.run asks for, without running anything."""

from base64 import b64encode
from typing import Any
from urllib.parse import quote

import pytest

from stepwell.engine.seams import Attempt, Code, Prepared
from stepwell.errors import Conflict, Invalid, TryLater, Unavailable
from stepwell_runners.command_plan import CommandPlan, NetworkPolicy, plan, read_outputs
from stepwell_runners.outcomes import SetupFailed, duration, of_error, of_exit
from stepwell_runners.spec import Egress, Exit


def planned(prepared: Prepared | None = None, **options: Any) -> CommandPlan:
    code = Code("d", {}, "pipeline.py:Ship")
    attempt = Attempt("r-1", "acme", "acme/api", {"name": "acme/api"}, code, "s#1", "s", "run", 1, options, ())
    return plan(attempt, prepared or Prepared())


def test_text_goes_to_the_shell_and_a_list_does_not() -> None:
    assert planned(command="a && b").argv == ("sh", "-c", "a && b")
    assert planned(command=["a", "&&"]).argv == ("a", "&&")


def test_variables_of_the_author_win_over_ours_and_secrets_over_both() -> None:
    prepared = Prepared(env={"KEY": "secret"}, files={"CONF": "text"})
    asked = planned(prepared, command="x", env={"KEY": "k", "CI": "no", "OWN": "1"})
    assert asked.env["CI"] == "no" and asked.env["OWN"] == "1" and asked.env["KEY"] == "secret"
    assert asked.env["STEPWELL_RUN"] == "r-1" and asked.env["STEPWELL_REPOSITORY"] == "acme/api"
    assert asked.env["CONF"] == "/run/files/CONF" and asked.files == {"CONF": b"text"}
    assert "secret" not in repr(asked)


@pytest.mark.parametrize(("cwd", "folder"), [("", "/workspace"), (".", "/workspace"), ("a/./b/", "/workspace/a/b")])
def test_the_directory_is_inside_the_workspace(cwd: str, folder: str) -> None:
    assert planned(command="x", cwd=cwd).cwd == folder


@pytest.mark.parametrize("cwd", ["..", "/etc", "a/../../workspace2"])
def test_directories_outside_are_refused(cwd: str) -> None:
    with pytest.raises(Invalid, match="outside of the workspace"):
        planned(command="x", cwd=cwd)


def test_isolates_have_no_network_unless_asked_and_containers_have() -> None:
    assert planned(command="x").network is None
    assert planned(command="x", network=True).network == Egress()
    assert planned(command="x", network=["a.example.org"]).network == Egress(frozenset({"a.example.org"}))
    assert planned(command="x", image="i").network == Egress()
    assert planned(command="x", image="i", network=False).network is None


@pytest.mark.parametrize("options", [{"image": "i", "tools": ["a"]}, {"python": "2.7"}])
def test_options_that_do_not_go_together_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        planned(command="x", **options)


def test_the_operator_says_how_much_memory_a_step_may_ask_for() -> None:
    def attempt(**options: Any) -> Attempt:
        code = Code("d", {}, "pipeline.py:Ship")
        return Attempt("r-1", "acme", "acme/api", {}, code, "s#1", "s", "run", 1, {"command": "x", **options}, ())

    for image in ({}, {"image": "i"}):
        with pytest.raises(Invalid, match=r"asks for 3 GiB, and a step may have 2 GiB here.*STEPWELL_STEP_MEMORY_GB"):
            plan(attempt(memory=3 << 30, **image), Prepared(), memory=2 << 30)
        assert plan(attempt(memory=2 << 30, **image), Prepared(), memory=2 << 30).memory == 2 << 30
    assert plan(attempt(memory=3 << 40), Prepared()).memory == 3 << 40


@pytest.mark.parametrize(
    ("policy", "network", "refused"),
    [
        ("any", True, ""),
        ("listed", ["a.example.org"], ""),
        ("listed", False, ""),
        ("listed", True, "only hosts that they list"),
        ("listed", ["*", "a.example.org"], "only hosts that they list"),
        ("none", ["a.example.org"], "no network"),
        ("none", True, "no network"),
    ],
)
def test_the_operator_says_what_isolates_may_reach(policy: NetworkPolicy, network: Any, refused: str) -> None:
    code = Code("d", {}, "pipeline.py:Ship")
    options = {"command": "x", "network": network}
    attempt = Attempt("r-1", "acme", "acme/api", {}, code, "s#1", "s", "run", 1, options, ())
    if refused:
        with pytest.raises(Invalid, match=refused):
            plan(attempt, Prepared(), policy)
    else:
        plan(attempt, Prepared(), policy)
    image = Attempt("r-1", "acme", "acme/api", {}, code, "s#1", "s", "run", 1, {**options, "image": "i"}, ())
    assert plan(image, Prepared(), policy).image == "i"  # containers are on the engine's network


def test_outputs_keep_the_last_value_and_leave_out_what_is_none() -> None:
    notes: list[str] = []
    text = b"a=1\n\na=2\nb = c=d\nnonsense\n=x\nbad name=1\nkey=xxSECRETxx\n"
    assert read_outputs(text, ("SECRET",), notes.append) == {"a": "2", "b": " c=d"}
    assert len(notes) == 4


@pytest.mark.parametrize("secret", ["abc", "top secret", "one line\nanother line"])
def test_outputs_hold_no_secret_in_any_spelling(secret: str) -> None:
    notes: list[str] = []
    line = secret.splitlines()[-1]
    spelled = [line, quote(line), b64encode(f"user:{line}".encode()).decode()]
    text = "".join(f"k{n}=x{value}x\n" for n, value in enumerate(spelled[: 3 if len(line) > 3 else 2]))
    assert read_outputs(text.encode(), (secret,), notes.append) == {}
    assert set(notes) <= {f"Output 'k{n}' was left out: it contains a secret." for n in range(3)}


def test_outputs_are_bounded() -> None:
    notes: list[str] = []
    assert len(read_outputs(b"".join(b"k%d=v\n" % n for n in range(1000)), (), notes.append)) == 500
    assert len(notes) == 1
    assert read_outputs(b"k=" + b"v" * (1 << 20), (), notes.append) == {} and "longer than 1 MiB" in notes[1]


def test_outcomes_say_what_trying_again_can_do() -> None:
    assert of_error(Invalid("x")).final and of_error(Unavailable("x")).final and of_error(Conflict("x")).final
    assert of_error(TryLater("x", 1)).lost and not of_error(SetupFailed("x")).final
    assert of_exit(Exit(None, None, "zygote died", lost=True), None, False).lost
    failed = of_exit(Exit(3, None, "exit code 3", 1.5), None, False)
    assert (failed.exit_code, failed.seconds, failed.error) == (
        3,
        1.5,
        {"type": "CommandFailed", "message": "exit code 3", "traceback": ""},
    )


def test_an_unexpected_error_is_called_a_bug_with_its_traceback() -> None:
    outcome = of_error(ZeroDivisionError("x"))
    assert outcome.error is not None and outcome.error["type"] == "Bug" and "please report" in outcome.error["message"]
    assert "ZeroDivisionError" in outcome.error["traceback"] and not outcome.final


@pytest.mark.parametrize(
    ("seconds", "words"), [(3600, "1 hour"), (7200, "2 hours"), (90, "90 seconds"), (300, "5 minutes"), (1, "1 second")]
)
def test_durations_are_said_as_people_would(seconds: float, words: str) -> None:
    assert duration(seconds) == words
