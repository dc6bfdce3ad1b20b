"""What containers with a network can reach of this host and of private networks, against a real Docker engine."""

import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from heavy import IMAGE, NoIsolates, attempt, nothing_left, run
from logged import Log
from neighbours import ASK as ASK_NEIGHBOUR
from neighbours import listening

from stepwell_runners import firewall, nftables
from stepwell_runners.executor import LocalExecutor

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(os.geteuid() != 0, reason="rules of the host are root's"),
    pytest.mark.skipif(shutil.which("ip") is None, reason="a network to look at takes ip"),
]
HOST, PUBLIC, PRIVATE, LINK_LOCAL = "198.20.7.1", "198.20.7.2", "10.177.0.2", "169.254.177.2"
PLACES = (PUBLIC, PRIVATE, LINK_LOCAL, HOST, "$(ip route | sed -n 's/default via \\([0-9.]*\\).*/\\1/p')")
GET = "printf 'GET /word HTTP/1.0\\r\\n\\r\\n' | nc -w 3 $at 8080 2> /dev/null | tail -n 1 | grep ."
"""A command that prints a page; busybox's wget, linked statically, crashes."""
ASK = f"for at in {{}}; do {GET} || echo refused; done"
ALL = ASK.format(" ".join(PLACES))


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def serving(folder: Path, *prefix: str, port: int = 8080) -> subprocess.Popen[bytes]:
    """Serve a word on every address."""
    command = [*prefix, sys.executable, "-u", "-m", "http.server", "--bind", "0.0.0.0", "-d", str(folder), str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None and process.stdout.readline()
    return process


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A machine beside this one with a public, a private and a link-local address; both serve a word."""
    with ExitStack() as kept:
        there, here = tmp_path_factory.mktemp("there"), tmp_path_factory.mktemp("here")
        (there / "word").write_text("there\n")
        (here / "word").write_text("here\n")
        machine = kept.enter_context(subprocess.Popen(["unshare", "-n", "sh", "-c", "echo; exec sleep 600"], stdout=-1))
        kept.callback(machine.kill)
        assert machine.stdout is not None and machine.stdout.readline()
        enter = ["nsenter", f"--net=/proc/{machine.pid}/ns/net"]
        ip("link", "add", "swtest0", "type", "veth", "peer", "name", "eth0", "netns", str(machine.pid))
        ip("addr", "add", f"{HOST}/30", "dev", "swtest0")
        ip("link", "set", "swtest0", "up")
        for words in (f"addr add {PUBLIC}/30 dev eth0", "link set eth0 up", "link set lo up",
                      f"addr add {PRIVATE}/32 dev eth0", f"addr add {LINK_LOCAL}/32 dev eth0",
                      f"route add default via {HOST}"):  # fmt: skip
            subprocess.run([*enter, "ip", *words.split()], check=True)
        for address in (PRIVATE, LINK_LOCAL):
            ip("route", "add", f"{address}/32", "via", PUBLIC)
        for process in (serving(there, *enter), serving(there, *enter, port=53), serving(here)):
            kept.enter_context(process)
            kept.callback(process.kill)
        yield enter[1]


@pytest.fixture
async def executor(
    engine: Any, tmp_path: Path, outside: str, request: pytest.FixtureRequest
) -> AsyncIterator[LocalExecutor]:
    reach = getattr(request, "param", "")
    executor = LocalExecutor.at(tmp_path / "state", NoIsolates(), warm_containers=2, containers_reach=reach)
    yield executor
    await nothing_left(executor, engine)


def table_of(executor: LocalExecutor) -> str:
    return executor._containers._networks.firewall._table


async def test_a_container_reaches_what_is_public_and_nothing_else(executor: LocalExecutor, engine: Any) -> None:
    seen = engine.containers.run(IMAGE, ["sh", "-c", ALL], remove=True)
    assert seen == b"there\nthere\nthere\nhere\nhere\n", "the way is closed anyway: what follows proves nothing"
    for number in range(2):  # the second one has waited
        log = Log()
        assert (await run(executor, attempt(ALL, key=f"step{number}#1"), log)).ok
        assert log.text == "there\nrefused\nrefused\nrefused\nrefused\n"
        await executor.filled()
    log = Log()
    assert (await run(executor, attempt("cat /seen", setup=f"({ALL}) > /seen"), log)).ok
    assert log.text == "there\nrefused\nrefused\nrefused\nrefused\n"


async def test_what_others_publish_on_this_host_is_refused(executor: LocalExecutor, engine: Any) -> None:
    serve = "mkdir /w; echo published > /w/word; httpd -p 80 -h /w; echo; exec sleep 600"
    other = engine.containers.run(IMAGE, ["sh", "-c", serve], ports={"80/tcp": 18080}, detach=True)
    try:
        next(other.logs(stream=True))
        ask = ASK.format(f"{HOST} {PLACES[-1]}").replace("8080", "18080")
        assert engine.containers.run(IMAGE, ["sh", "-c", ask], remove=True) == b"published\npublished\n"
        log = Log()
        assert (await run(executor, attempt(ask), log)).ok
        assert log.text == "refused\nrefused\n"
    finally:
        other.remove(force=True)


async def test_a_step_with_services_reaches_them_and_what_is_public(executor: LocalExecutor) -> None:
    serve = "mkdir /w; echo mine > /w/word; exec httpd -f -p 8080 -h /w"
    ready = f"at=127.0.0.1; {GET}"
    find = "at=$(nslookup -type=a db | sed -n '/^Name/,$s/Address: //p'); "
    log = Log()
    beside = {"db": {"image": IMAGE, "command": serve, "ready": ready}}
    assert (await run(executor, attempt(f"{find}{ASK.format('$at')}; {ALL}", services=beside), log)).ok
    assert log.text == "mine\nthere\nrefused\nrefused\nrefused\nrefused\n"


@pytest.mark.parametrize("executor", [f"10.177.0.0/24, {LINK_LOCAL}"], indirect=True)
async def test_what_the_operator_names_is_open(executor: LocalExecutor) -> None:
    log = Log()
    assert (await run(executor, attempt(ALL), log)).ok
    assert log.text == "there\nthere\nthere\nrefused\nrefused\n"


@pytest.mark.parametrize("executor", ["any"], indirect=True)
async def test_an_operator_may_leave_everything_open(executor: LocalExecutor) -> None:
    log = Log()
    assert (await run(executor, attempt(ALL), log)).ok
    assert log.text == "there\nthere\nthere\nhere\nhere\n" and not nftables.holds(table_of(executor))


async def test_name_servers_are_open_for_names_only(
    executor: LocalExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "resolv.conf").write_text(f"nameserver {PRIVATE}\nnameserver 127.0.0.53\n")
    monkeypatch.setattr(firewall, "_RESOLVERS", (tmp_path / "resolv.conf",))
    log, names = Log(), ASK.format(PRIVATE).replace("8080", "53")
    assert (await run(executor, attempt(f"{names}; {ASK.format(PRIVATE)}"), log)).ok
    assert log.text == "there\nrefused\n"


@pytest.mark.skipif(shutil.which("iptables") is None, reason="the engine's rules are changed with iptables")
@pytest.mark.parametrize(
    ("executor", "seen"), [("any", "theirs\n"), ("", "refused\n")], indirect=["executor"], ids=["open", "closed"]
)
async def test_neighbours_stay_apart_where_the_engines_rules_let_them_through(
    executor: LocalExecutor, seen: str
) -> None:
    bridge = executor._containers._networks.shared.bridge
    through = ["FORWARD", "-i", bridge, "-o", bridge, "-j", "ACCEPT"]
    async with listening(executor) as address:
        subprocess.run(["iptables", "-w", "-I", *through], check=True)
        try:
            log = Log()
            assert (await run(executor, attempt(ASK_NEIGHBOUR.format(address), key="mine#1"), log)).ok
            assert log.text == seen
        finally:
            subprocess.run(["iptables", "-w", "-D", *through], check=True)


async def test_rules_that_somebody_cleared_are_there_for_the_next_container(executor: LocalExecutor) -> None:
    assert (await run(executor, attempt("true"))).ok
    await executor.filled()
    nftables.remove(table_of(executor))
    log = Log()
    assert (await run(executor, attempt(ALL, memory=64 << 20), log)).ok  # none of that kind waits
    assert log.text == "there\nrefused\nrefused\nrefused\nrefused\n"


async def test_a_host_that_takes_no_rules_is_told_of(
    executor: LocalExecutor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(*_: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(nftables, "replace", refused)
    assert (await run(executor, attempt("true"))).ok
    assert (await run(executor, attempt("true", key="two#1"))).ok
    assert caplog.text.count("Containers reach this host and private addresses: only root") == 1
