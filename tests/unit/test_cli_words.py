"""Small readers and writers of the command line."""

from importlib import metadata
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stepwell.cli.bench import Sample
from stepwell.cli.cache import removed
from stepwell.cli.compose import settings_with
from stepwell.cli.decide import parse_fields, pick
from stepwell.cli.init import PIPELINE, fit_name
from stepwell.cli.local import unknown_secrets
from stepwell.cli.main import app
from stepwell.cli.reports import none_why
from stepwell.cli.runs import require_step
from stepwell.cli.screen import duration, plain, say, show_error, show_table
from stepwell.errors import Conflict, Invalid, NotFound


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, ""), (0.0421, "42 ms"), (2.55, "2.5 s"), (61, "1 min 1 s"), (3720, "1 h 2 min")],
)
def test_duration_is_written_as_people_say_it(seconds: float | None, words: str) -> None:
    assert duration(seconds) == words


def test_fields_are_read_and_a_wrong_one_is_named() -> None:
    assert parse_fields(["version=1.0", "note=a=b"]) == {"version": "1.0", "note": "a=b"}
    with pytest.raises(Invalid, match="'version' has no '='"):
        parse_fields(["version"])
    with pytest.raises(Invalid, match="Input 'target' has no '='"):
        parse_fields(["target"], "Input")


def test_log_of_a_step_that_is_not_there_is_refused_with_those_that_are() -> None:
    view = {"number": 4, "steps": [{"name": "lint", "key": "lint#1"}, {"name": "lint", "key": "lint#2"}]}
    for known in (None, "lint", "lint#2"):
        require_step(view, known)
    with pytest.raises(NotFound, match=r"Run #4 has no step 'test'\. Its steps: 'lint'\."):
        require_step(view, "test")


def test_approving_a_run_that_waits_for_something_else_says_so() -> None:
    with pytest.raises(Conflict, match="waiting, but for no approval"):
        pick({"number": 4, "state": "waiting", "approvals": []}, None)


def test_removed_caches_are_counted_as_people_do() -> None:
    assert [removed(count) for count in (0, 1, 1000)] == [
        "Removed 0 caches.", "Removed 1 cache.", "Removed 1,000 caches.",
    ]  # fmt: skip


def test_no_tests_are_explained_by_what_the_steps_named() -> None:
    asked = {"key": "unit#1", "name": "unit", "state": "cancelled", "options": {"junit": ["j.xml"]}}
    plain = {"key": "lint#1", "name": "lint", "state": "passed", "options": {}}
    found = "No report that junit= names has been kept: unit is cancelled."
    assert none_why({"steps": [plain, asked]}, None) == none_why({"steps": [plain, asked]}, "unit") == found
    assert none_why({"steps": [plain]}, None) == "No step of it named a report with junit=."
    assert none_why({"steps": [plain, asked]}, "lint") == "It named no report with junit=."


def test_only_secrets_that_failed_a_step_are_asked_for() -> None:
    error = {"type": "NotFound", "message": "Step 'a' names the secret 'KEY', which does not exist"}
    steps = [{"error": error, "secrets": ["KEY", "OTHER"]}, {"error": None, "secrets": ["FINE"]}]
    assert unknown_secrets({"steps": steps}) == ["KEY"]


def test_version_is_printed() -> None:
    said = CliRunner().invoke(app, ["--version"])
    assert (said.exit_code, said.output) == (0, f"stepwell {metadata.version('stepwell')}\n")


@pytest.mark.parametrize(("name", "fit"), [("My Project!", "My-Project"), ("api.git", "api"), ("...", "project")])
def test_name_of_a_directory_is_made_fit(name: str, fit: str) -> None:
    assert fit_name(name) == fit


def test_written_pipeline_is_python() -> None:
    compile(PIPELINE, "pipeline.py", "exec")


def test_setting_without_sense_is_named_with_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPWELL_PORT", "x")
    with pytest.raises(Invalid, match="STEPWELL_PORT has value 'x'"):
        settings_with()


def test_option_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STEPWELL_PORT", "7800")
    monkeypatch.setenv("STEPWELL_STATE", "relative")
    assert settings_with(port=7900).port == 7900
    assert settings_with().state.is_absolute()


def test_p95_is_the_bad_end_for_times_and_for_rates() -> None:
    values = tuple(float(value) for value in range(1, 101))
    assert Sample(values, "ms").as_json() == {"median": 50.5, "p95": 95.0, "unit": "ms", "n": 100}
    assert Sample(values, "steps/s").as_json()["p95"] == 6.0


def test_a_shell_is_before_or_after_a_step() -> None:
    refused = CliRunner().invoke(app, ["shell", "1", "build", "--before", "--after"])
    assert isinstance(refused.exception, Invalid) and "exclude each other" in str(refused.exception)


def test_what_a_stranger_wrote_moves_and_reorders_nothing_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    nasty = "fix\x1b[2J \u202egnp.exe ma\u200bin\x9b1m"
    safe = r"fix\x1b[2J \u202egnp.exe ma\u200bin\x9b1m"
    assert plain(nasty) == safe and plain("Größe\u00a05 °C") == "Größe\u00a05 °C"
    show_table(("MESSAGE",), [(nasty,)])
    assert safe in capsys.readouterr().out
    say(f"{nasty}\n\tnext")
    show_error(Invalid(nasty))
    told = capsys.readouterr().err
    assert f"{safe}\n\tnext\n" in told and told.endswith(f"stepwell: {safe}\n")
