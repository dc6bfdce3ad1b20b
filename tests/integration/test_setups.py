"""`setup=` and tools of npm in isolates: once per key, read-only afterwards, with nothing of the host or of secrets."""

import asyncio
import base64
import hashlib
import io
import json
import os
import shutil
import signal
import stat
import tarfile
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import pytest_asyncio
from logged import Log, attempt
from walled import running, until

from stepwell.engine.seams import Attempt, Outcome, Prepared
from stepwell_runners.command_plan import NetworkPolicy
from stepwell_runners.executor import LocalExecutor
from stepwell_runners.isolates import ZygoteIsolates
from stepwell_runners.options import IsolateOptions

pytestmark = pytest.mark.asyncio(loop_scope="module")
SETUP = """
cat needs; ls -A; echo key=$KEY; touch $STEPWELL_SETUP/made-$(cat needs); cp $(command -v id) $STEPWELL_SETUP/id
chmod 6755 $STEPWELL_SETUP/id; mkfifo $STEPWELL_SETUP/fifo; mkdir $STEPWELL_SETUP/shut; chmod 0 $STEPWELL_SETUP/shut
printf '#!/bin/sh\necho tool of setup' > $STEPWELL_SETUP/bin/own; chmod +x $STEPWELL_SETUP/bin/own
"""


async def _executor(state: Path, wall: str) -> tuple[LocalExecutor, ZygoteIsolates]:
    (state / "work").mkdir(parents=True)
    isolates = ZygoteIsolates(state, lambda _: state, IsolateOptions(wall="full" if wall == "full" else "none"))
    await isolates.start()
    if wall == "full" and not isolates.walled:
        pytest.skip("this host does not give the wall")
    return LocalExecutor.at(state, isolates), isolates


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["full", "none"])
async def executor(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[LocalExecutor]:
    made, isolates = await _executor(tmp_path_factory.mktemp("setups"), request.param)
    yield made
    await isolates.stop()


async def run(executor: LocalExecutor, asked: Attempt, log: Log | None = None) -> Outcome:
    return await executor.execute(asked, Prepared(env={"KEY": "secret"}), log or Log())


async def _needs(executor: LocalExecutor, text: str) -> tuple[str, ...]:
    written = await run(executor, attempt(f"echo {text} > needs; echo more > other", key=f"needs-{text}#1"))
    assert written.ok and written.layer
    return (written.layer,)


async def test_a_setup_runs_once_for_its_inputs_and_is_read_only_afterwards(executor: LocalExecutor) -> None:
    program = "ls $STEPWELL_SETUP; own; ls -A; touch $STEPWELL_SETUP/x 2>/dev/null || echo refused"
    options = {"setup": SETUP, "setup_inputs": ["needs"]}
    logs = [Log() for _ in range(4)]
    base, other = await _needs(executor, "one"), await _needs(executor, "two")
    outcomes = await asyncio.gather(
        *(run(executor, attempt(program, base, f"s{n}#1", **options), log) for n, log in enumerate(logs[:3]))
    )
    assert all(outcome.ok for outcome in outcomes), outcomes
    assert sum("one\nneeds\nkey=\n" in log.text for log in logs) == 1  # its input, nothing else, and no secret
    assert sum(any(note.startswith("Setting up: ") for note in log.notes) for log in logs) == 1
    assert all("made-one" in log.text and "tool of setup\n" in log.text for log in logs[:3])
    assert all(log.text.endswith("needs\nother\nrefused\n") for log in logs[:3]) or not executor._isolates.walled
    assert (await run(executor, attempt(program, other, "s4#1", **options), logs[3])).ok
    assert "made-two" in logs[3].text and "made-one" not in logs[3].text


async def test_what_a_setup_leaves_is_no_danger_to_the_host(executor: LocalExecutor) -> None:
    if not executor._isolates.walled:
        pytest.skip("without the wall a setup is trusted")
    assert (
        await run(executor, attempt("true", await _needs(executor, "three"), setup=SETUP, setup_inputs=["needs"]))
    ).ok
    for path in executor._shelf.folder.rglob("*"):
        mode = path.lstat().st_mode
        assert stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)
        assert not mode & 0o6000, path


async def test_a_setup_that_fails_says_so_and_is_tried_again(executor: LocalExecutor) -> None:
    for _ in range(2):
        log = Log()
        outcome = await run(executor, attempt("true", setup="echo trying; exit 3"), log)
        assert not outcome.ok and not outcome.final
        assert outcome.error and outcome.error["type"] == "SetupFailed" and "exit code 3" in outcome.error["message"]
        assert "trying" in log.text
    outcome = await run(executor, attempt("true", setup="true", setup_inputs=["nothing"]))
    assert outcome.final and outcome.error and "setup_inputs names 'nothing'" in outcome.error["message"]


async def test_tenants_do_not_share_a_setup(executor: LocalExecutor) -> None:
    for tenant in ("acme", "other"):
        log = Log()
        asked = replace(attempt("true", setup="echo made for one tenant"), tenant=tenant)
        assert (await run(executor, asked, log)).ok
        assert "made for one tenant" in log.text


async def _made(executor: LocalExecutor, asked: Attempt, *makers: str) -> bool:
    """Run a step; whether its setup was run for it."""
    log = Log()
    assert (await executor.execute(asked, Prepared(setups=makers or ("main",)), log)).ok, (log.text, log.notes)
    return "setting up\n" in log.text


async def test_a_setup_is_another_one_with_other_limits(executor: LocalExecutor) -> None:
    """One that hides its failures would else be made with little memory by whom it does not serve."""
    setup = "echo setting up; ulimit -a > $STEPWELL_SETUP/limits || true"
    asked = attempt("true", setup=setup)
    assert await _made(executor, asked) and not await _made(executor, asked)
    for limits in ({"memory": 64 << 20}, {"processes": 20}, {"memory": 64 << 20, "processes": 20}):
        assert await _made(executor, replace(asked, options={**asked.options, **limits})), limits
    assert not await _made(executor, replace(asked, options={**asked.options, "cpu": 1.0, "timeout": 60.0}))
    assert not await _made(executor, asked)


async def test_what_a_branch_sets_up_reaches_its_own_runs_only(executor: LocalExecutor) -> None:
    asked = attempt("true", setup="echo setting up; true of branches")
    assert await _made(executor, asked, "main", "topic")
    assert not await _made(executor, asked, "main", "topic")
    assert await _made(executor, asked, "main", "other")
    assert await _made(executor, asked, "main")
    assert not await _made(executor, asked, "main", "third")  # what the default branch has made serves all
    assert await _made(executor, asked, "release/1")  # but a branch that is better protected than that one
    elsewhere = replace(asked, metadata={**asked.metadata, "repository": "another"})
    assert await _made(executor, elsewhere, "main")


async def test_a_setup_that_fails_for_the_default_branch_is_made_by_who_waited_for_it(executor: LocalExecutor) -> None:
    rest = ("sleep", f"1000.{os.getpid()}")  # like no other process of the host
    setup = f"echo setting up; {' '.join(rest)}; test -e /workspace/good"

    async def go_on() -> None:
        await until(lambda: running(rest))
        for pid in running(rest):
            os.kill(pid, signal.SIGKILL)
        await until(lambda: not running(rest))

    one = await run(executor, attempt("echo > bad", key="bad#1"))
    assert one.layer
    bad = attempt("true", (one.layer,), setup=setup, setup_inputs=["bad"])
    log = Log()
    main = asyncio.create_task(executor.execute(bad, Prepared(setups=("main",)), log))
    await log.arrived.wait()
    waiting = Log()
    topic = asyncio.create_task(executor.execute(bad, Prepared(setups=("main", "topic")), waiting))
    await until(lambda: waiting.notes)
    await go_on()
    assert not (await main).ok
    await go_on()
    assert not (await topic).ok
    assert waiting.notes[0].startswith("Waiting for another") and "setting up\n" in waiting.text


async def test_where_hosts_have_to_be_listed_a_setup_is_another_one_with_other_hosts(tmp_path: Path) -> None:
    isolates = ZygoteIsolates(tmp_path, lambda _: tmp_path, IsolateOptions())
    (tmp_path / "work").mkdir()
    await isolates.start()
    try:
        policies: dict[NetworkPolicy, bool] = {"listed": True, "any": False}
        for policy, apart in policies.items():
            executor = LocalExecutor.at(tmp_path, isolates, network=policy)
            asked = attempt("true", setup=f"echo setting up; true {policy}", network=["example.org"])
            assert await _made(executor, asked)
            assert await _made(executor, replace(asked, options={**asked.options, "network": ["b.example"]})) is apart
    finally:
        await isolates.stop()


async def test_a_virtual_environment_is_ready_and_sees_the_tools(executor: LocalExecutor) -> None:
    setup = "python -c 'import sys; print(sys.prefix)'; d=$(ls -d $STEPWELL_SETUP/lib/python*/site-packages)"
    setup += "; echo 'value = 7' > $d/mine.py; pip --version"
    program = "python -c 'import mine, iniconfig; print(mine.value)'"
    log = Log()
    assert (await run(executor, attempt(program, setup=setup, tools=["iniconfig==2.3.1"]), log)).ok, (
        log.text,
        log.notes,
    )
    assert log.text.endswith("7\n") and "pip " in log.text


MANIFEST = {"name": "greets", "version": "1.2.3", "bin": {"greets": "cli.js"}}


@cache  # the time is in it, and the registry vouches for one
def _packed() -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, text in {"package.json": json.dumps(MANIFEST), "cli.js": GREETS}.items():
            info = tarfile.TarInfo(f"package/{name}")
            info.size, info.mode = len(text), 0o755
            archive.addfile(info, io.BytesIO(text.encode()))
    return packed.getvalue()


class Registry(BaseHTTPRequestHandler):
    """As much of a registry of npm as one package needs."""

    def do_GET(self) -> None:
        assert isinstance(self.server, ThreadingHTTPServer)
        port = self.server.server_port
        data = _packed()
        if self.path.endswith(".tgz"):
            body = data
        else:
            digest = base64.b64encode(hashlib.sha512(data).digest()).decode()
            dist = {"tarball": f"http://127.0.0.2:{port}/greets-1.2.3.tgz", "integrity": f"sha512-{digest}"}
            versions = {"1.2.3": {**MANIFEST, "dist": dist}}
            body = json.dumps({"name": "greets", "dist-tags": {"latest": "1.2.3"}, "versions": versions}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        return


GREETS = "#!/usr/bin/env node\nconsole.log('greetings of', require('os').userInfo().username)\n"


@pytest.fixture
def registry() -> Iterator[int]:
    Registry.protocol_version = "HTTP/1.0"
    server = ThreadingHTTPServer(("127.0.0.2", 0), Registry)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.skipif(shutil.which("npm") is None, reason="this host has no npm")
async def test_a_tool_of_npm_is_installed_behind_the_wall(
    registry: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("npm_config_registry", f"http://127.0.0.2:{registry}/")
    executor, isolates = await _executor(tmp_path, "full")
    try:
        log = Log()
        outcome = await run(executor, attempt("greets", tools=["npm:greets@1.2.3"]), log)
        assert outcome.ok, (outcome, log.text, log.notes)
        assert log.text.endswith("greetings of step\n")
        assert f"network: 127.0.0.2:{registry}" in log.notes
        outcome = await run(executor, attempt("true", tools=["npm:../../etc"]))
        assert outcome.final and outcome.error and "npm:eslint@9" in outcome.error["message"]
    finally:
        await isolates.stop()
