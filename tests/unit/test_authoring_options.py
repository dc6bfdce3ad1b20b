import pytest

from stepwell import NotExecuted, Retry, file, service
from stepwell.authoring.options import approval_options, check_defaults, run_options


def test_options_become_json_and_override_defaults() -> None:
    given = {"timeout": "1 minute", "env": {"N": 1}, "retries": Retry(1, "1 s", "linear"), "memory": "1.5g", "cpu": 2}
    assert run_options("make", given, {"timeout": 5, "cwd": "api"}) == {
        "command": "make", "timeout": 60.0, "cwd": "api", "env": {"N": "1"}, "memory": 1610612736, "cpu": 2.0,
        "retries": {"max": 1, "delay": 1.0, "backoff": "linear", "cap": 3600.0},
    }  # fmt: skip


@pytest.mark.parametrize("option", ["labels"])
def test_options_that_are_not_executed_are_refused_with_a_remedy(option: str) -> None:
    with pytest.raises(NotExecuted, match=f"step.run option '{option}' is not executed by this version of Stepwell"):
        run_options("make", {option: {}}, {})


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("tools", "ruff", "tools has value 'ruff'. Write a list of texts"),
        ("env", ["A"], "env has value"),
        ("env", {"1A": "x"}, "env names the variable '1A'"),
        ("secrets", "KEY", "secrets has value 'KEY'"),
        ("secrets", ["a-b"], "secrets names the variable 'a-b'"),
        ("network", 1, "network has value 1"),
        ("cwd", "../up", "cwd has value '../up'"),
        ("reuse", [], "Name all files that the step depends on"),
        ("reuse", ["../x"], "Write a path inside the workspace"),
        ("cache", "deps", 'Write cache={"key"'),
        ("cache", {"key": "a", "paths": ["/root/.cache"]}, "Write a directory inside the workspace"),
        ("cache", {"key": "a", "paths": ["~/.m2"]}, "Write a directory inside the workspace"),
        ("cache", {"key": "a", "paths": ["."]}, "Write a directory inside the workspace"),
        ("cache", {"key": "a", "paths": ["x/.."]}, "Write a directory inside the workspace"),
        ("cache", {"key": "a", "paths": [".git/lfs"]}, "none of .git"),
        ("cache", {"key": "a", "paths": ["a/*"]}, "one directory by its name"),
        ("cache", {"key": "a", "paths": ["a", "a/b"]}, "inside of another path"),
        ("cache", {"key": "a-{", "paths": ["a"]}, "braces do not match"),
        ("cache", {"key": "a-{../x}", "paths": ["a"]}, "Name files of the workspace in braces"),
        ("cache", {"key": "a-{[z-a]}", "paths": ["a"]}, "a set is wrong"),
        ("cache", {"key": "a", "paths": ["a"], "ttl": 3}, "no field 'ttl'"),
        ("artifacts", ["dist/[z-a]"], "in which a set is wrong"),
        ("artifacts", ["a"] * 101, "Write at most 100"),
        ("artifacts", ["a/*.{txt,md}"], "one glob for each, 'a/*.txt' and so on"),
        ("junit", ["**", "!a/1"], "leaves nothing out"),
        ("junit", ["/etc/passwd"], "junit has value '/etc/passwd'"),
        ("timeout", 0, "timeout has value 0. Write a time above 0, like"),
        ("retries", -1, "retries has value -1"),
        ("retries", True, "retries has value True"),
        ("check", "no", "check has value 'no'. Write True or False"),
        ("memory", "big", "memory has value 'big'"),
        ("cpu", 0, "cpu has value 0"),
        ("setup_inputs", ["a"], "setup_inputs needs setup"),
        ("tool", [], "step.run has no option 'tool'"),
    ],
)
def test_a_wrong_option_is_quoted(option: str, value: object, message: str) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        run_options("make", {option: value}, {})
    assert message in str(caught.value)


@pytest.mark.parametrize("command", ["", "  ", [], None, ["a", 1], "a\0b"])
def test_a_wrong_command_is_quoted(command: object) -> None:
    with pytest.raises(TypeError, match="command has value"):
        run_options(command, {}, {})


def test_secrets_may_be_files() -> None:
    checked = run_options("x", {"secrets": {"K": file("KUBE"), "T": "TOKEN"}}, {})
    assert checked["secrets"] == {"K": {"file": "KUBE"}, "T": "TOKEN"}


def test_services_become_json() -> None:
    given = {
        "image": "python:3.13",
        "services": {
            "db": service("postgres:16", env={"POSTGRES_PASSWORD": "x"}, ready="pg_isready"),
            "app": service(command=["python", "app.py"]),
        },
    }
    assert run_options("make", given, {})["services"] == {
        "db": {"image": "postgres:16", "env": {"POSTGRES_PASSWORD": "x"}, "ready": "pg_isready"},
        "app": {"command": ["python", "app.py"]},
    }


@pytest.mark.parametrize(
    ("services", "message"),
    [
        (["db"], "services has value ['db']. Write a dict"),
        ({"Db": service("x")}, "services names the host 'Db'"),
        ({"localhost": service("x")}, "services names the host 'localhost'"),
        ({"db": "postgres"}, "services gives 'db' the value 'postgres'. Write service("),
        ({f"a{n}": service("x") for n in range(11)}, "Write a dict of at most 10"),
    ],
)
def test_a_wrong_service_is_quoted(services: object, message: str) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        run_options("make", {"image": "x", "services": services}, {})
    assert message in str(caught.value)


def test_a_service_says_what_runs_and_its_step_has_an_image() -> None:
    with pytest.raises(ValueError, match=r"service\(\) says nothing to run"):
        service()
    with pytest.raises(ValueError, match="service env names the variable '1'"):
        service("x", env={"1": "x"})
    with pytest.raises(ValueError, match="services needs image"):
        run_options("make", {"services": {"db": service("x")}}, {})


def test_approvals_have_their_own_options() -> None:
    given = {"environment": "production", "count": 2, "fields": {"v": "1", "where": ["eu", "us"]}, "timeout": "7 days"}
    assert approval_options("Ship?", given) == {
        "message": "Ship?", "environment": "production", "count": 2, "fields": {"v": "1", "where": ["eu", "us"]},
        "timeout": 604800.0,
    }  # fmt: skip
    with pytest.raises(TypeError, match=r"step\.approval has no option 'tools'"):
        approval_options("Ship?", {"tools": []})
    with pytest.raises(ValueError, match="count has value 0"):
        approval_options("Ship?", {"count": 0})


def test_defaults_are_checked_before_anything_runs() -> None:
    assert check_defaults({"timeout": "20 minutes", "retries": Retry(1)})["timeout"] == 1200.0
    with pytest.raises(ValueError, match="timeout has value 'long'"):
        check_defaults({"timeout": "long"})
    with pytest.raises(TypeError, match="defaults has value"):
        check_defaults(["timeout"])
