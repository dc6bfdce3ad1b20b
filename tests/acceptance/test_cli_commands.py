"""Every command of the command line against a real server, as a person and as a program use it."""

import json
from pathlib import Path

import pytest
from command_line import Terminal

SHIP = """
from stepwell import Pipeline, manual, push

class Ship(Pipeline):
    on = [push(), manual(target=["staging", "production"])]
    async def run(self, event, step):
        await step.run("build", "echo built for $TARGET", env={"TARGET": event.inputs.get("target", "nobody")})
        approval = await step.approval("Ship it?", environment="production")
        await step.run("deploy", "echo deploying with ${#DEPLOY_KEY} characters; echo by " + approval.by,
                       environment="production", secrets=["DEPLOY_KEY"])
"""
PLAN = """
from stepwell import Pipeline

class Look(Pipeline):
    async def run(self, event, step):
        seen = await step.run("look", 'echo "names=$(ls -A | xargs)" | tee $STEPWELL_OUTPUT; exit 0')
        return [seen.outputs["names"], await step.do("add", lambda n: n + 1, event.payload["n"])]
"""
LOOP = """
from stepwell import Pipeline

class Loop(Pipeline):
    async def run(self, event, step):
        n = event.payload or 1
        print("round", n)
        await step.run("look", f"echo look {n}")
        if n < 3: await step.continue_as(n + 1)
        await step.run("end", "true")
"""
COUNT = """
from stepwell import Pipeline, manual

class Count(Pipeline):
    on = [manual(number=3)]
    async def run(self, event, step):
        await step.run("count", f"cat dirty.txt; test -e ignored.txt && echo leaked; seq {event.inputs['number']}")
        return await step.run("end", "exit 3", check=False)

class Fail(Pipeline):
    on = [manual()]
    async def run(self, event, step):
        await step.run("fail", "echo going down; exit 7")

class Ask(Pipeline):
    on = [manual()]
    async def run(self, event, step):
        await step.approval("Sure?")
        await step.run("use", "echo used ${#TOKEN}", secrets=["TOKEN"])
"""


@pytest.fixture(scope="module")
def project(person: Terminal) -> Path:
    """A repository with a run that waits."""
    folder = person.home / "shop"
    (folder / ".stepwell").mkdir(parents=True)
    (folder / ".stepwell" / "pipeline.py").write_text(SHIP)
    person.json("init", cwd=folder)
    person.stepwell("secret", "set", "DEPLOY_KEY", "--environment", "production", cwd=folder, input="four\n")
    for line in (["add", "."], ["commit", "-q", "-m", "Ship"], ["push", "-q"]):
        done = person.run("git", *line, cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder


def _wait(person: Terminal, project: Path, number: str, code: int = 5) -> None:
    """Follow the run until it waits (5), or ends otherwise."""
    done = person.stepwell("logs", number, "--follow", cwd=project)
    assert done.returncode == code, done.stdout + done.stderr


def test_run_is_followed_approved_and_passes(person: Terminal, project: Path) -> None:
    _wait(person, project, "1")
    assert [(run["number"], run["state"]) for run in person.json("runs", "--state", "waiting", cwd=project)] == [
        (1, "waiting")
    ]
    said = person.json("approve", "1", "-m", "go", cwd=project)
    assert (said["step"], said["verdict"]) == ("Ship it?#1", "approved")
    _wait(person, project, "1", code=0)
    told = person.json("logs", "home/shop#1", "--step", "deploy")
    assert told["logs"]["deploy#1"] == "deploying with 4 characters\nby admin\n"
    found = person.stepwell("search", "WITH 4 char", "--pipeline", "Ship", cwd=project)
    assert found.returncode == 0, found.stderr
    assert "home/shop#1  ✓ passed" in found.stdout and "deploying with 4 characters" in found.stdout
    assert "/home/shop/runs/1?step=deploy&attempt=1&from=1#deploy:1" in found.stdout
    assert [one["run"]["number"] for one in person.json("search", "4 char", cwd=project)] == [1]
    assert person.stepwell("search", "nobody has said so", cwd=project).returncode == 1
    again = person.stepwell("approve", "1", cwd=project)
    assert again.returncode == 2
    assert "passed and waits for no approval" in again.stderr


def test_rejected_and_cancelled_runs_end_with_their_own_codes(person: Terminal, project: Path) -> None:
    for number, verb, code in (("2", "reject", 1), ("3", "cancel", 3)):
        person.run("git", "commit", "-q", "--allow-empty", "-m", verb, cwd=project)
        pushed = person.run("git", "push", cwd=project)
        assert f"run #{number} Ship" in pushed.stderr, pushed.stderr
        _wait(person, project, number)
        assert person.stepwell(verb, number, cwd=project).returncode == 0
        _wait(person, project, number, code=code)
    done = person.stepwell("cancel", "3", cwd=project)
    assert (done.returncode, "cancelled already" in done.stderr) == (2, True)


def test_runs_are_paused_terminated_and_restarted_from_a_step(person: Terminal, project: Path) -> None:
    person.run("git", "commit", "-q", "--allow-empty", "-m", "control", cwd=project)
    person.run("git", "push", cwd=project)
    _wait(person, project, "4")
    assert person.stepwell("pause", "4", "--reason", "freeze", cwd=project).returncode == 0
    paused = person.json("runs", "--state", "paused", cwd=project)
    assert [(run["number"], run["reason"]) for run in paused] == [(4, "paused by admin: freeze")]
    assert person.json("resume", "4", cwd=project)["state"] == "waiting"
    resumed = person.stepwell("resume", "4", cwd=project)
    assert (resumed.returncode, "Run #4 is not paused" in resumed.stderr) == (2, True)
    ended = person.json("terminate", "4", cwd=project)
    assert (ended["state"], ended["reason"]) == ("cancelled", "terminated by admin")
    made = person.json("restart", "4", "--from", "Ship it?", cwd=project)
    assert (made["number"], made["state"] in ("queued", "running", "waiting")) == (5, True)
    _wait(person, project, "5")
    followed = person.stepwell("logs", "5", cwd=project)
    assert "from run #4" in followed.stdout
    refused = person.stepwell("restart", "5", "--from", "Ship it?", cwd=project)
    assert (refused.returncode, "Cancel or terminate it first" in refused.stderr) == (2, True)
    unknown = person.stepwell("restart", "4", "--from", "x", "--code", "newer", cwd=project)
    assert (unknown.returncode, "has no step 'x'" in unknown.stderr) == (2, True)
    person.json("terminate", "5", cwd=project)
    nowhere = person.stepwell("restart", "4", "--code", "newer", cwd=project)
    assert (nowhere.returncode, "Name one with --from" in nowhere.stderr) == (2, True)


def test_many_runs_are_changed_by_one_command(person: Terminal, project: Path) -> None:
    for _ in range(2):
        person.run("git", "commit", "-q", "--allow-empty", "-m", "many", cwd=project)
        person.run("git", "push", cwd=project)
    for number in ("6", "7"):
        _wait(person, project, number)
    paused = person.json("bulk", "pause", "--pipeline", "Ship", "--reason", "freeze", cwd=project)
    assert ([one["number"] for one in paused["changed"]], paused["refused"]) == ([6, 7], [])
    assert person.json("bulk", "resume", "--older-than", "1 day", cwd=project)["changed"] == []
    ended = person.stepwell("bulk", "terminate", "--tenant", "home", "--state", "paused", cwd=project)
    assert (ended.returncode, "terminate: 2 runs, 0 refused" in ended.stderr) == (0, True)
    wrong = person.stepwell("bulk", "pause", "--state", "passed", cwd=project)
    assert (wrong.returncode, "cannot be meant by 'pause'" in wrong.stderr) == (2, True)
    assert person.json("restart", "7", "--from", "Ship it?", cwd=project)["number"] == 8
    ended = person.stepwell("bulk", "terminate", cwd=project)
    assert (ended.returncode, "terminate: 1 run, 0 refused" in ended.stderr) == (0, True)
    assert person.json("dead", cwd=project) == []


def test_secrets_are_listed_by_name_and_deleted(person: Terminal, project: Path) -> None:
    person.json("secret", "set", "OTHER", cwd=project, input="value")
    listed = person.json("secret", "list", cwd=project)
    assert {(one["name"], one["environment"]) for one in listed} == {("DEPLOY_KEY", "production"), ("OTHER", "")}
    assert "value" not in json.dumps(listed)
    assert {one["name"]: one["refs"] for one in listed} == {"DEPLOY_KEY": [], "OTHER": "protected"}
    limited = person.json("secret", "limit", "OTHER", "--refs", "main, tags/v*", cwd=project)
    assert limited["refs"] == ["main", "tags/v*"]
    assert "main, tags/v*" in person.stepwell("secret", "list", cwd=project).stdout
    person.json("secret", "delete", "OTHER", cwd=project)
    assert {one["name"] for one in person.json("secret", "list", cwd=project)} == {"DEPLOY_KEY"}
    empty = person.stepwell("secret", "set", "OTHER", cwd=project, input="")
    assert (empty.returncode, "No value for OTHER" in empty.stderr) == (2, True)


def test_quotas_are_shown_set_and_taken_away(person: Terminal, project: Path) -> None:
    (repository,) = (item["full_name"] for item in person.json("repo", "list"))
    assert person.json("quota", repository, "--runs", "3") == [{"repository": "shop", "runs": 3}]
    assert f"{repository}  3" in person.stepwell("quota", repository).stdout
    assert person.json("quota", repository, "--runs", "none") == []
    assert "the server's settings count" in person.stepwell("quota", repository).stderr
    done = person.stepwell("quota", repository, "--runs", "many")
    assert (done.returncode, "--runs has value 'many'" in done.stderr) == (2, True)


def test_a_plan_runs_without_being_committed(person: Terminal, project: Path, tmp_path: Path) -> None:
    (tmp_path / "plan.py").write_text(PLAN)
    checked = person.json("plan", str(tmp_path / "plan.py"), "--check")
    steps = [(step["kind"], step["name"], step["line"]) for step in checked["steps"]]
    assert steps == [("run", "look", 6), ("do", "add", 7)]
    ran = person.json("plan", str(tmp_path / "plan.py"), "--event", '{"n": 4}', "--repo", "home/shop", cwd=project)
    assert (ran["state"], ran["result"], ran["url"]) == ("passed", [".git .stepwell", 5], "/home/-/runs/1")
    followed = person.stepwell("plan", "-", "--event", '{"n": 4}', input=PLAN.replace("exit 0", "exit 9"))
    assert (followed.returncode, "exit code: 9" in followed.stdout) == (1, False), followed.stdout
    assert "look" in followed.stdout and ".stepwell" not in followed.stdout
    wrong = person.stepwell("plan", "-", input="import numpy\n")
    assert (wrong.returncode, ".stepwell/pipeline.py:1" in wrong.stderr) == (2, True)
    none = person.stepwell("plan", "-", "--event", "{", input=PLAN)
    assert (none.returncode, "--event has value '{'" in none.stderr) == (2, True)


def test_earlier_rounds_of_a_run_are_read(person: Terminal, project: Path) -> None:
    run = person.json("plan", "-", input=LOOP)["id"]
    last = person.json("logs", run)
    assert (last["round"], last["output"], last["logs"]) == (3, "round 3\n", {"look#3": "look 3\n", "end#3": ""})
    first = person.json("logs", run, "--round", "1")
    assert (first["round"], first["output"], first["logs"]) == (1, "round 1\n", {"look#1": "look 1\n"})
    told = person.stepwell("logs", run, "--round", "2")
    assert (told.returncode, "look 2" in told.stdout, "round 2" in told.stdout, "look 3" in told.stdout) == (
        0, True, True, False,
    )  # fmt: skip
    assert "--round 1 or --round 2" in person.stepwell("logs", run).stderr
    for wrong, words in (("4", "Kept are: 1, 2, 3."), ("1", "has no step 'end'")):
        done = person.stepwell("logs", run, "--round", wrong, "--step", "end")
        assert (done.returncode, words in done.stderr) == (2, True), done.stderr


def test_token_signs_another_machine_in_until_it_is_revoked(person: Terminal, project: Path, tmp_path: Path) -> None:
    made = person.json("token", "create", "laptop", "--scope", "read", cwd=project)
    url = json.loads((person.home / ".config/stepwell/servers.json").read_text())["default"]
    laptop = Terminal(tmp_path)
    assert laptop.json("login", f"{url}/home/shop", input=made["secret"] + "\n")["name"] == "admin"
    assert [one["name"] for one in laptop.json("repo", "list")] == ["shop"]
    denied = laptop.stepwell("repo", "create", "home/other")
    assert denied.returncode == 2
    assert "Traceback" not in denied.stderr
    person.json("token", "revoke", made["token"]["id"], cwd=project)
    assert made["token"]["id"] not in {one["id"] for one in person.json("token", "list", cwd=project)}
    refused = laptop.stepwell("repo", "list")
    assert (refused.returncode, "stepwell login" in refused.stderr) == (2, True)


def test_repository_is_created_once(person: Terminal, project: Path) -> None:
    assert person.json("repo", "create", "tools", "--description", "Tools", cwd=project)["full_name"] == "home/tools"
    again = person.stepwell("repo", "create", "home/tools", cwd=project)
    assert again.returncode == 2
    for wrong in ("home/..", "a/b/c"):
        assert person.stepwell("repo", "create", wrong, cwd=project).returncode == 2


def test_a_repository_keeps_its_artifacts_for_fewer_days(person: Terminal, project: Path) -> None:
    person.json("repo", "create", "home/brief", cwd=project)
    person.json("repo", "create", "home/plain", cwd=project)
    assert "Nothing is to be changed" in person.stepwell("repo", "set", "home/brief", cwd=project).stderr
    refused = person.stepwell("repo", "set", "home/brief", "--keep-artifacts-days", "91", cwd=project)
    assert (refused.returncode, "have value 91. Write a whole number from 1 to 90" in refused.stderr) == (2, True)
    told = person.stepwell("repo", "set", "brief", "--keep-artifacts-days", "7", "--description", "Short", cwd=project)
    assert "kept for 7 days after their run's end" in told.stdout + told.stderr
    assert person.json("repo", "set", "home/plain", "--description", "x", cwd=project)["keep_artifacts_days"] is None
    kept = person.json("retention", cwd=project)["artifacts"]
    assert kept == {"days": None, "repositories": {"home/brief": 7}, "runs": []}
    shown = person.stepwell("retention", cwd=project)
    assert (
        "home/brief" in shown.stdout and "Other artifacts are kept as long as their run" in shown.stdout + shown.stderr
    )
    person.json("repo", "set", "home/brief", "--keep-artifacts-days", "0", cwd=project)
    shown = person.stepwell("retention", cwd=project)
    assert "Artifacts are kept as long as their run" in shown.stdout + shown.stderr
    for name in ("home/brief", "home/plain"):
        person.json("repo", "delete", name, "--yes", cwd=project)


def test_repository_is_deleted_once_its_name_is_typed(person: Terminal, project: Path) -> None:
    assert person.json("repo", "create", "home/gone", cwd=project)["full_name"] == "home/gone"
    assert "Give --yes where nobody can be asked" in person.stepwell("repo", "delete", "home/gone", cwd=project).stderr
    assert person.stepwell("repo", "delete", "gone", "--yes", cwd=project).returncode == 2
    assert person.json("repo", "delete", "home/gone", "--yes", cwd=project) == {"deleted": "home/gone"}
    assert person.stepwell("repo", "delete", "home/gone", "--yes", cwd=project).returncode != 0
    assert "home/gone" not in person.stepwell("repo", "list", cwd=project).stdout


def test_signin_prints_a_link_of_the_running_server(person: Terminal, project: Path) -> None:
    url = json.loads((person.home / ".config/stepwell/servers.json").read_text())["default"]
    assert person.stepwell("signin").stdout.startswith(f"{url}/signin?code=")


def test_second_server_on_the_state_is_refused(person: Terminal, project: Path) -> None:
    done = person.stepwell("up")
    assert done.returncode == 2
    assert "Another server" in done.stderr and "STEPWELL_STATE" in done.stderr


def test_unknown_server_run_and_figure_have_a_message_and_no_traceback(
    person: Terminal, project: Path, tmp_path: Path
) -> None:
    for done, words in (
        (Terminal(tmp_path).stepwell("runs"), "stepwell up"),
        (person.stepwell("runs", cwd=person.home), "--repo acme/api"),
        (person.stepwell("logs", "99", cwd=project), "no run #99"),
        (person.stepwell("bench", "speed"), "no figure 'speed'"),
        (person.stepwell("check", cwd=tmp_path), "stepwell init"),
        (person.stepwell("login", "http://127.0.0.1:1", input="sw_x\n"), "No Stepwell answers"),
    ):
        assert done.returncode == 2, done.stdout
        assert words in done.stderr
        assert "Traceback" not in done.stderr


def test_doctor_names_what_it_looked_at(person: Terminal) -> None:
    done = person.stepwell("doctor", "--json")
    found = {one["name"]: one for one in json.loads(done.stdout)}
    assert {"python", "git", "state", "wall", "docker"} <= set(found)
    assert all(one["ok"] or one["remedy"] for one in found.values())
    assert done.returncode == (0 if all(one["ok"] for one in found.values() if one["needed"]) else 1)


def test_every_figure_has_a_name(person: Terminal) -> None:
    assert "isolate_boot_ms" in person.json("bench", "--list")


@pytest.fixture
def dirty(tmp_path: Path) -> tuple[Terminal, Path]:
    """A working tree with a commit, a change on top, and an ignored file; no server anywhere."""
    person, folder = Terminal(tmp_path), tmp_path / "tree"
    (folder / ".stepwell").mkdir(parents=True)
    (folder / ".stepwell" / "pipeline.py").write_text(COUNT)
    (folder / ".gitignore").write_text("ignored.txt\n")
    (folder / "ignored.txt").write_text("secret")
    (folder / "dirty.txt").write_text("clean\n")
    who = ["-c", "user.name=Author", "-c", "user.email=author@example.org"]
    for line in (["init", "-q"], ["add", "."], [*who, "commit", "-q", "-m", "First"]):
        assert person.run("git", *line, cwd=folder).returncode == 0
    (folder / "dirty.txt").write_text("dirty\n")
    return person, folder


def test_run_plays_the_files_as_they_are_and_leaves_the_tree_alone(dirty: tuple[Terminal, Path]) -> None:
    person, folder = dirty
    before = person.run("git", "status", "--porcelain=v2", "--branch", cwd=folder).stdout
    done = person.stepwell("run", "Count", "--input", "number=2", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line.partition(" │ ")[2].strip() for line in done.stdout.splitlines()]
    assert lines[1:4] == ["dirty", "1", "2"]
    assert "leaked" not in lines
    assert person.run("git", "status", "--porcelain=v2", "--branch", cwd=folder).stdout == before


def test_run_ends_with_the_state_of_the_run(dirty: tuple[Terminal, Path]) -> None:
    person, folder = dirty
    failed = person.json("run", "Fail", cwd=folder, code=1)
    assert failed["state"] == "failed"
    assert failed["error"]["type"] == "StepFailed"
    which = person.stepwell("run", cwd=folder)
    assert (which.returncode, "Count, Fail, Ask" in which.stderr) == (2, True)


def test_run_asks_and_without_anybody_to_ask_rejects(dirty: tuple[Terminal, Path]) -> None:
    person, folder = dirty
    rejected = person.stepwell("run", "Ask", cwd=folder)
    assert rejected.returncode == 1
    assert "Say --yes" in rejected.stderr
    person.more["TOKEN"] = "sesame-open"
    agreed = person.stepwell("run", "Ask", "--yes", "--secret", "TOKEN", cwd=folder)
    assert agreed.returncode == 0, agreed.stdout + agreed.stderr
    assert "used 11" in agreed.stdout
    assert "sesame-open" not in agreed.stdout + agreed.stderr


def test_check_tells_what_starts_what(dirty: tuple[Terminal, Path]) -> None:
    person, folder = dirty
    assert [one["name"] for one in person.json("check", cwd=folder)["pipelines"]] == ["Count", "Fail", "Ask"]
    (folder / ".stepwell" / "pipeline.py").write_text("def (\n")
    told = person.json("check", cwd=folder, code=1)
    assert told["error"]["message"].startswith(".stepwell/pipeline.py:1:")
