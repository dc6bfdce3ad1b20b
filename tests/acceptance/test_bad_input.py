"""Each mistake an author can make gets a message of its own, and nothing is lost or half-made."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from live import TENANT, LiveServer, commit_all, git, wait_until, write_pipeline

HEAD = "import asyncio, socket, threading, time\nfrom stepwell import Pipeline, push\n\n"


def body(*lines: str) -> str:
    """A pipeline whose run() has these lines."""
    inner = "\n".join(f"        {line}" for line in lines)
    return f"{HEAD}class Broken(Pipeline):\n    on = [push()]\n\n    async def run(self, event, step):\n{inner}\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    live = LiveServer(tmp_path_factory.mktemp("bad") / "state")
    live.start()
    yield live
    live.stop()


@pytest.fixture
def remote(server: LiveServer, request: pytest.FixtureRequest) -> str:
    """A fresh repository for each mistake."""
    name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)[:90].strip("-")
    return server.create_repository(name)


def push(server: LiveServer, remote: str, tree: Path, source: str | None) -> tuple[str, str]:
    """Push a pipeline; what git showed, and the id of the run ("" when there is none)."""
    if source is None:
        (tree / "README").write_text("no pipeline here\n")
    else:
        write_pipeline(tree, source)
    sha = commit_all(tree, "try")
    shown = git("push", remote, "HEAD:main", cwd=tree).stderr
    assert git("ls-remote", remote, "refs/heads/main", cwd=tree).stdout.startswith(sha), "the push itself was lost"
    rows = server.query("SELECT id FROM runs WHERE json_extract(metadata, '$.commit') = ?", sha)
    return shown, str(rows[0][0]) if rows else ""


def failure(server: LiveServer, run: str, seconds: float = 60) -> str:
    """Wait until the run failed; its message and, if a step failed, that step's."""
    wait_until(lambda: server.state_of(run) in {"failed", "passed", "cancelled", "diverged"}, seconds, "end of the run")
    view = server.run(run)
    assert view["state"] == "failed", view
    texts = [view["error"]] + [step["error"] for step in view["steps"]]
    return " | ".join(f"{error['type']}: {error['message']} {error.get('traceback', '')}" for error in texts if error)


def test_push_without_a_pipeline_says_so(server: LiveServer, remote: str, tmp_path: Path) -> None:
    shown, run = push(server, remote, tmp_path, None)
    assert ".stepwell/" in shown and not run


def test_syntax_error_is_named_on_the_push_and_on_the_run(server: LiveServer, remote: str, tmp_path: Path) -> None:
    shown, run = push(server, remote, tmp_path, f"{HEAD}class Broken(Pipeline)\n    pass\n")
    assert "pipeline.py:4" in shown
    assert "pipeline.py" in failure(server, run) and "4" in failure(server, run)


def test_missing_module_is_named(server: LiveServer, remote: str, tmp_path: Path) -> None:
    shown, run = push(server, remote, tmp_path, f"import nonesuch_module\n{body('pass')}")
    assert "nonesuch_module" in shown
    assert "nonesuch_module" in failure(server, run)


RUN_MISTAKES = {
    "result that is not JSON": (("await step.do('thing', lambda: object())",), ("thing", "JSON")),
    "result over 64 MiB": (("await step.do('big', lambda: 'x' * 67_200_000, retries=0)",), ("big", "64 MiB")),
    "result of run over 1 MiB": (("return 'x' * 1_100_000",), ("run() returned", "1 MiB")),
    "wrong duration": (("await step.sleep('nap', '5 parsecs')",), ("5 parsecs", "minutes")),
    "negative timeout": (("await step.run('go', 'true', timeout=-1)",), ("-1",)),
    "time.sleep": (("time.sleep(1)",), ("time.sleep", "step.sleep")),
    "socket": (("socket.create_connection(('127.0.0.1', 9))",), ("socket", "step.")),
    "thread": (("threading.Thread(target=print).start()",), ("thread", "step.do")),
    "step never awaited": (("step.run('forgotten', 'true')",), ("forgotten", "never awaited", "pipeline.py:8")),
    "unknown secret": (("await step.run('go', 'true', secrets=['NOT_THERE'])",), ("NOT_THERE", "secret")),
    "unknown option": (("await step.run('go', 'true', nonsense=1)",), ("nonsense",)),
    "failing command": (("await step.run('go', 'echo no; exit 3')",), ("exit code 3",)),
    "bad tool": (("await step.run('go', 'true', tools=['--pre'])",), ("--pre",)),
    "path outside": (("await step.read('../../etc/passwd')",), ("../../etc/passwd",)),
}


@pytest.mark.parametrize("mistake", RUN_MISTAKES)
def test_mistake_in_run_gets_its_own_message(server: LiveServer, remote: str, tmp_path: Path, mistake: str) -> None:
    lines, words = RUN_MISTAKES[mistake]
    shown, run = push(server, remote, tmp_path, body(*lines))
    assert "run #1" in shown
    text = failure(server, run)
    assert all(word in text for word in words), text


def test_code_that_never_yields_fails_and_names_the_line(server: LiveServer, remote: str, tmp_path: Path) -> None:
    _, run = push(server, remote, tmp_path, body("await step.do('before', lambda: 1)", "while True:", "    pass"))
    assert "pipeline.py:" in failure(server, run)
    assert "before#1" in server.passed_steps(run)


@pytest.mark.root
def test_disk_full_in_the_workspace_is_named_and_given_back(tmp_path: Path) -> None:
    """The state lies on a file system of its own, small enough to fill."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", str(disk)], check=True)
    live = LiveServer(disk / "state")
    try:
        live.start()
        source = body(
            "try:",
            "    await step.run('fill', 'head -c 1000m /dev/zero > big')",
            "finally:",
            "    await step.run('after', 'test ! -e big && echo there is room > small')",
        )
        _, run = push(live, live.create_repository("full"), tmp_path / "author", source)
        assert "disk" in failure(live, run, 120) and "full" in failure(live, run)
        assert "after#1" in live.passed_steps(run)
    finally:
        live.stop()
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_docker_that_does_not_run_fails_the_step_at_once(tmp_path: Path) -> None:
    live = LiveServer(tmp_path / "state", {"STEPWELL_DOCKER_HOST": f"unix://{tmp_path}/nothing.sock"})
    live.start()
    try:
        tree = tmp_path / "author"
        source = body("await step.run('light', 'true')", "await step.run('heavy', 'true', image='busybox:1.36')")
        _, run = push(live, live.create_repository("heavy"), tree, source)
        text = failure(live, run)
        assert "Docker" in text and "light#1" in live.passed_steps(run)
    finally:
        live.stop()


@pytest.mark.parametrize(
    ("path", "token", "words"),
    [
        ("{tenant}/there.git", "wrong", ("Authentication failed",)),
        ("{tenant}/missing.git", None, ("not found",)),
        ("{tenant}/a..b.git", None, ("..",)),
        ("strangers/there.git", None, ("not found",)),
    ],
)
def test_refused_push_says_why(
    server: LiveServer, tmp_path: Path, path: str, token: str | None, words: tuple[str, ...]
) -> None:
    write_pipeline(tmp_path, body("pass"))
    commit_all(tmp_path, "try")
    url = f"http://tests:{token or server.token}@127.0.0.1:{server.port}/{path.format(tenant=TENANT)}"
    answer = git("push", url, "HEAD:main", cwd=tmp_path, check=False)
    assert answer.returncode != 0
    assert all(word in answer.stderr for word in words), answer.stderr


@pytest.mark.parametrize("name", ["a..b", "x.git", "", "-x", "a/b"])
def test_bad_repository_name_is_refused(server: LiveServer, name: str) -> None:
    headers = {"Authorization": f"Bearer {server.token}"}
    answer = httpx.post(
        f"{server.url}/api/v1/repos", headers=headers, json={"tenant": TENANT, "name": name}, timeout=60
    )
    assert answer.status_code == 422 and answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"]
