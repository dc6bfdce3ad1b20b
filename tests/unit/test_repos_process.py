import os

import pytest

from stepwell.repos.process import environment


def test_environment_takes_nothing_but_the_path_from_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", "/elsewhere")
    monkeypatch.setenv("STEPWELL_KEY", "secret")
    made = environment()
    assert made["PATH"] == os.environ["PATH"]
    assert not {"GIT_DIR", "STEPWELL_KEY", "SSH_AUTH_SOCK"} & made.keys()
    assert (made["HOME"], made["GIT_CONFIG_GLOBAL"], made["GIT_CONFIG_NOSYSTEM"]) == ("/nonexistent", "/dev/null", "1")


def test_settings_are_counted_and_can_be_replaced() -> None:
    made = environment({"core.hooksPath": "/hooks"})
    count = int(made["GIT_CONFIG_COUNT"])
    pairs = {made[f"GIT_CONFIG_KEY_{n}"]: made[f"GIT_CONFIG_VALUE_{n}"] for n in range(count)}
    assert pairs["core.hooksPath"] == "/hooks"
    assert pairs["core.protectNTFS"] == pairs["core.protectHFS"] == pairs["transfer.fsckObjects"] == "true"
    assert pairs["receive.hideRefs"] == pairs["uploadpack.hideRefs"] == "refs/runs"


@pytest.mark.parametrize("header", ["version=2 ", "version=2\n", "X", "a" * 65, "$(x)", ""])
def test_odd_protocol_header_is_dropped(header: str) -> None:
    assert "GIT_PROTOCOL" not in environment(protocol=header)


def test_protocol_header_of_git_is_passed_on() -> None:
    assert environment(protocol="version=2")["GIT_PROTOCOL"] == "version=2"
