"""What containers of different tenants can reach of each other, against a real Docker engine."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from heavy import IMAGE, NoIsolates, attempt, nothing_left, opened, run
from logged import Log
from neighbours import ASK, LISTEN, listening

from stepwell_runners.executor import LocalExecutor

pytestmark = pytest.mark.docker


@pytest.fixture(params=[0, 4], ids=["cold", "warm"])
async def executor(
    request: pytest.FixtureRequest, engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[LocalExecutor]:
    warm = request.param
    request.param = "copy"
    async with opened(request, engine, tmp_path, monkeypatch, warm=warm) as executor:
        yield executor


async def test_what_a_neighbour_listens_on_cannot_be_reached(executor: LocalExecutor, engine: Any) -> None:
    for number in range(2):  # the second ones have waited, where any waits
        async with listening(executor) as address:
            log = Log()
            assert (await run(executor, attempt(ASK.format(address), key=f"mine{number}#1"), log)).ok
            assert log.text == "refused\n", "a step reached a container of another tenant"
        await executor.filled()
    told = engine.containers.run(IMAGE, ["sh", "-c", LISTEN], detach=True)
    try:  # the same question is answered where nothing stands between
        address = next(told.logs(stream=True)).decode().strip()
        assert engine.containers.run(IMAGE, ["sh", "-c", ASK.format(address)], remove=True) == b"theirs\n"
    finally:
        told.remove(force=True)


async def test_a_network_that_somebody_has_removed_is_made_again(executor: LocalExecutor, engine: Any) -> None:
    for number in range(2):
        assert (await run(executor, attempt("ls /sys/class/net | grep eth0", key=f"step{number}#1"))).ok
        await executor.close()  # what waits goes with it, so that the network can be removed
        assert engine.networks.list(names=[executor._containers._networks.shared.name]) == []


async def test_a_runtime_of_its_own_kernel_gets_the_name_servers_of_the_host(
    engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stepwell_runners.container_settings.name_servers", lambda: ["198.20.7.9"])
    executor = LocalExecutor.at(tmp_path / "state", NoIsolates(), warm_containers=0, runtime="runc")
    alone, beside = Log(), Log()
    assert (await run(executor, attempt("cat /etc/resolv.conf"), alone)).ok
    assert alone.text == "nameserver 198.20.7.9\n"
    services = {"db": {"image": IMAGE, "command": "sleep 60"}}
    asked = attempt("nslookup -type=a db > /dev/null && echo found", key="beside#1", services=services)
    assert (await run(executor, asked, beside)).ok and beside.text == "found\n"
    await nothing_left(executor, engine)


async def test_an_engine_that_cannot_keep_containers_apart_is_told(
    executor: LocalExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    from docker.errors import APIError
    from docker.models.networks import NetworkCollection

    def create(*told: Any, **asked: Any) -> None:
        assert asked["options"]["com.docker.network.bridge.enable_icc"] == "false"
        raise APIError("refused", explanation="cannot restrict inter-container communication: no br_netfilter")

    monkeypatch.setattr(NetworkCollection, "create", create)
    outcome = await run(executor, attempt("true"))
    assert outcome.error is not None and "modprobe br_netfilter" in outcome.error["message"]
    assert (await run(executor, attempt("true", key="alone#1", network=False))).ok
