"""Services beside container steps, against a real Docker engine."""

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from heavy import GO_ON, IMAGE, WAIT_FOR_THE_STEP, attempt, opened, run
from logged import Log

from stepwell_runners import services
from stepwell_runners.containers import LABEL
from stepwell_runners.executor import LocalExecutor

pytestmark = pytest.mark.docker
SERVE = "mkdir /w; echo ${SAID-something} > /w/index.html; echo serving; httpd -f -v -p 8080 -h /w"
WEB = {"image": IMAGE, "command": SERVE}


def get(host: str, port: int) -> str:
    """A command that prints a page; busybox's wget, linked statically, may crash when it looks a name up."""
    return f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 2 {host} {port} | tail -n 1 | grep ."


READY = get("127.0.0.1", 8080)


@pytest.fixture
async def executor(
    request: pytest.FixtureRequest, engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[LocalExecutor]:
    async with opened(request, engine, tmp_path, monkeypatch) as executor:
        yield executor


async def test_a_step_finds_its_services_by_name_when_they_are_ready(executor: LocalExecutor, engine: Any) -> None:
    log = Log()
    page = await run(executor, attempt("echo from the workspace > index.html", key="page#1", network=False))
    assert page.layer
    beside = {
        "web": {**WEB, "env": {"SAID": "hello"}, "ready": READY},
        "files": {"command": "httpd -f -p 80", "ready": get("127.0.0.1", 80)},
    }
    command = f"{get('web', 8080)}; {get('files', 80)}; echo made > result"
    outcome = await run(executor, attempt(command, (page.layer,), services=beside, network=False), log)
    assert outcome.ok and outcome.layer, (outcome, log.text, log.services)
    assert log.text == "hello\nfrom the workspace\n"
    assert log.services["web"].text.startswith("serving\n") and "serving" not in log.text
    seen = await run(executor, attempt("cat result", (page.layer, outcome.layer), "two#1", network=False), log)
    assert seen.ok and log.text.endswith("made\n")


async def test_no_port_is_on_the_host_and_no_attempt_reaches_anothers_service(
    executor: LocalExecutor, engine: Any
) -> None:
    log, other = Log(), Log()
    web = {"web": {**WEB, "ready": READY}}
    running = asyncio.create_task(
        run(executor, attempt("ip -4 addr show eth0; echo; sleep 60", services=web, network=False), log)
    )
    await log.arrived.wait()
    ours = {"label": f"{LABEL}={executor._containers._label[LABEL]}"}
    containers = engine.containers.list(filters=ours)
    assert len(containers) == 2 and all(one.ports == {} or not any(one.ports.values()) for one in containers)
    address = next(
        network["IPAddress"]
        for one in containers
        if one.attrs["Config"]["Hostname"] == "web"
        for network in one.attrs["NetworkSettings"]["Networks"].values()
    )
    command = f"{get('web', 8080)}; {get(address, 8080)}; true"
    beside = {"mine": {**WEB, "ready": READY}}
    assert (await run(executor, attempt(command, key="b#1", services=beside, network=True), other)).ok
    assert "something" not in other.text, "it reached a service of another attempt"
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_step_without_network_reaches_its_services_only(executor: LocalExecutor, engine: Any) -> None:
    log = Log()
    bridge = engine.networks.get("bridge").attrs["IPAM"]["Config"][0]
    gateway = bridge.get("Gateway") or str(next(ipaddress.ip_network(bridge["Subnet"]).hosts()))
    with socket.create_server(("0.0.0.0", 0)) as listening:
        port = listening.getsockname()[1]
        own = "$(ip route | sed -n 's/default via \\([0-9.]*\\).*/\\1/p')"
        command = (
            f"{get('web', 8080)}; for at in {own} {gateway}; do nc -w 1 $at {port} && echo reached $at; done; true"
        )
        beside = {"web": {**WEB, "ready": READY, "env": {"SAID": "hello"}}}
        outcome = await run(executor, attempt(command, services=beside, network=False), log)
    assert outcome.ok and log.text.startswith("hello\n") and "reached" not in log.text, log.text


async def test_a_service_that_fails_is_named_with_its_last_words(
    executor: LocalExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    for one, seconds, words in [
        (
            {"image": IMAGE, "command": "echo no disk; exit 7", "ready": "false"},
            60.0, "ended before it was ready: exit code 7\nIts log ends with:\nno disk",
        ),
        (
            {"image": IMAGE, "command": "sleep 60", "ready": "echo not yet; false"},
            0.5, "not ready within 0.5 s: ready= ended",
        ),
        ({"image": IMAGE, "command": ["no-such"]}, 60.0, "Service 'db' cannot start"),
    ]:  # fmt: skip
        monkeypatch.setattr(services, "READY_SECONDS", seconds)
        outcome = await run(executor, attempt("echo begun", services={"db": one}, network=False))
        assert not outcome.ok and not outcome.final and outcome.error is not None
        assert outcome.error["type"] == "ServiceFailed" and words in outcome.error["message"], outcome.error
    missing = await run(executor, attempt("true", services={"db": {"image": "stepwell-test/missing:1"}}))
    assert missing.final and missing.error is not None and "cannot be pulled" in missing.error["message"]


async def test_a_service_that_ends_during_the_step_is_noted(executor: LocalExecutor) -> None:
    log = Log()
    beside = {"db": {"image": IMAGE, "command": f"{WAIT_FOR_THE_STEP}; exit 9"}}
    command = f"{GO_ON}; while nslookup -type=a db > /dev/null 2>&1; do sleep 0.2; done; exit 1"
    outcome = await run(executor, attempt(command, services=beside, network=False), log)
    assert outcome.exit_code == 1
    assert log.notes == ["Service 'db' had ended before the step did: exit code 9."]


async def test_cancelling_while_a_service_is_not_ready_ends_everything(executor: LocalExecutor) -> None:
    log = Log()
    beside = {"db": {"image": IMAGE, "command": "echo up; sleep 60", "ready": "sleep 60"}}
    running = asyncio.create_task(run(executor, attempt("true", services=beside, network=False), log))
    await asyncio.wait_for(log.beside("db").arrived.wait(), 60)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(running, 60)


async def test_recover_removes_networks_that_a_crash_left(executor: LocalExecutor, engine: Any) -> None:
    assert (await run(executor, attempt("true", network=False))).ok
    left = engine.networks.create("stepwell-left", labels=executor._containers._label)
    other = engine.networks.create("stepwell-of-others", labels={LABEL: "of another state directory"})
    try:
        await executor.recover(lambda layer: True, lambda run: False)
        assert engine.networks.list(filters={"id": left.id}) == []
        assert engine.networks.list(filters={"id": other.id}) == [other]
    finally:
        other.remove()
