# ruff: noqa: E501 - one case a line
import re

import pytest

from stepwell import cron, manual, push, tag
from stepwell.authoring.triggers import Trigger


@pytest.mark.parametrize(
    ("trigger", "data"),
    [
        (push("main", "release/*", paths=["src/**"]), {"kind": "push", "branches": ["main", "release/*"], "paths": ["src/**"]}),
        (push(), {"kind": "push", "branches": [], "paths": []}),
        (tag("v*"), {"kind": "tag", "patterns": ["v*"]}),
        (cron("0 3 * * mon-fri", tz="Europe/Berlin"), {"kind": "cron", "schedule": "0 3 * * mon-fri", "tz": "Europe/Berlin"}),
        (manual(target=["a", "b"], dry=True), {"kind": "manual", "inputs": {"target": ["a", "b"], "dry": True}}),
    ],
)  # fmt: skip
def test_triggers_are_data(trigger: Trigger, data: dict[str, object]) -> None:
    assert trigger.as_json() == data


@pytest.mark.parametrize("schedule", ["* * * * *", "*/5 0-6 1,15 jan-mar 7", "0 0 29 2 sun"])
def test_schedules_of_five_fields_are_accepted(schedule: str) -> None:
    assert cron(schedule).settings["schedule"] == schedule


@pytest.mark.parametrize(
    "schedule",
    ["", "* * * *", "@daily", "60 * * * *", "* 24 * * *", "* * 0 * *", "*/0 * * * *", "5-1 * * * *", "x * * * *"],
)
def test_a_wrong_schedule_is_quoted(schedule: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"cron has schedule {schedule!r}")):
        cron(schedule)


def test_an_unknown_time_zone_is_quoted() -> None:
    with pytest.raises(ValueError, match="cron has time zone 'Mars/Base'"):
        cron("0 3 * * *", tz="Mars/Base")


def test_paths_must_be_a_list() -> None:
    with pytest.raises(TypeError, match=r"Write a list: \['src'\]"):
        push(paths="src")


def test_inputs_are_choices_or_defaults() -> None:
    with pytest.raises(TypeError, match="manual input 'target' has value None"):
        manual(target=None)


@pytest.mark.parametrize(
    ("glob", "said"), [("v{1,2}.*", "write one glob for each, 'v1.*'"), ("!main", "leaves nothing out")]
)
def test_what_other_tools_read_differently_is_refused(glob: str, said: str) -> None:
    for make in (push, tag):
        with pytest.raises(ValueError, match=re.escape(said)):
            make(glob)
    assert push("[{]a,b}", "{x}", "a!b")
