"""Fifty tenants on one engine: each runs its own code and no other, across kill -9 of the host, and reaches nobody."""

import asyncio
import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from engines import Workshop
from tenants import COUNT, TENANTS, write_code

from stepwell.dynamic import Code, Handle, WorkflowsBinding, bind, route
from stepwell.errors import Conflict, Invalid, NotFound

HOST = Path(__file__).resolve().parents[1] / "support" / "tenants_host.py"
SECONDS = 60
Step = tuple[str, str]  # tenant, key


class Host:
    """The host of all tenants: lives, one after the other, on one database. Each life has a folder for its effects."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.database = path / "runs.db"
        self.lives: list[Path] = []
        self.process: subprocess.Popen[str] | None = None
        write_code(path / "codes")

    def start(self, *words: str) -> None:
        life = self.path / f"life-{len(self.lives) + 1}"
        life.mkdir()
        self.lives.append(life)
        argv = [sys.executable, str(HOST), str(self.database), str(self.path / "codes"), *words]
        self.process = subprocess.Popen(argv, cwd=life, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None and self.process.stdout.readline() == "up\n"

    def kill(self) -> set[Step]:
        """Kill it as the kernel would when memory is short; give the steps that are journaled as done."""
        assert self.process is not None and self.process.poll() is None, "it ended before it could be killed"
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate(timeout=SECONDS)
        return {step for step, _ in self.done()}

    def finish(self) -> dict[str, Any]:
        """Wait until everything has ended; how each run came out."""
        assert self.process is not None
        said, _ = self.process.communicate(timeout=SECONDS)
        assert self.process.returncode == 0
        ended: dict[str, Any] = json.loads(said)
        return ended

    def done(self) -> list[tuple[Step, int]]:
        """Read from disk how often each step of work was journaled as done."""
        query = (
            "SELECT tenant, key, count(*) FROM journal JOIN runs ON runs.id = run WHERE type = 'done' GROUP BY run, key"
        )
        with closing(sqlite3.connect(self.database)) as database:
            return [((tenant, key), count) for tenant, key, count in database.execute(query)]

    def effects(self, life: int) -> Counter[Step]:
        """Count what was done to the world outside in one of the lives."""
        file = self.lives[life] / "effects"
        lines = file.read_text().splitlines() if file.exists() else []
        return Counter((tenant, label) for tenant, _, label in (line.partition(" ") for line in lines))

    def wait_until(self, claim: Callable[[], object]) -> None:
        deadline = time.monotonic() + SECONDS
        while not claim():
            assert time.monotonic() < deadline, f"waited in vain: {len(self.done())} steps are done"
            time.sleep(0.005)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path)
    yield host
    if host.process is not None and host.process.poll() is None:
        host.process.kill()
        host.process.wait()


def gated(gate: str) -> set[Step]:
    """Give the steps that wait for a file: they have begun and are not over when their host dies."""
    return {
        (tenant.name, f"{tenant.word} {n}#1") for tenant in TENANTS for n, name in tenant.gates.items() if name == gate
    }


def test_each_of_fifty_tenants_did_its_own_code_once_across_two_kills(host: Host) -> None:
    host.start()
    host.wait_until(lambda: gated("../open-1") <= set(host.effects(0)) and len(host.done()) >= 2 * COUNT)
    done_first = host.kill()
    (host.path / "open-1").touch()
    host.start("go")
    host.wait_until(lambda: gated("../open-2") <= set(host.effects(1)))
    done_then = host.kill()
    (host.path / "open-2").touch()
    host.start("go")
    ended = host.finish()

    assert ended == {tenant.name: ["passed", *tenant.expected] for tenant in TENANTS}
    assert [step for step, count in host.done() if count != 1] == []
    lives = [host.effects(life) for life in range(3)]
    assert {step for life in lives for step in life} == {(one.name, label) for one in TENANTS for label in one.effects}
    assert all(count == 1 for life in lives for count in life.values()), "a step was done twice in one life"
    assert not done_first & {*lives[1], *lives[2]} and not done_then & {*lives[2]}, "a step that was done is done again"
    # Not always in the next life: that may be over before a step's turn has come.
    again = {step for step, count in Counter(step for life in lives for step in {*life}).items() if count > 1}
    assert again >= gated("../open-1") | gated("../open-2"), "the kills came when nothing was under way"


HOSTILE = """
class W(Pipeline):
    async def run(self, event, step):
        other = await step.wait_for_event("who", type="who")
        forged = {"tenant": other["tenant"], "source": other["tenant"]}
        workflows = self.env.workflows
        said = []
        for call in (
            workflows.get(other["id"]), workflows.status(other["id"]), workflows.send_event(other["id"], "who", 1),
            workflows.create("a", metadata=forged), workflows.create("a", tenant=other["tenant"]),
            workflows.create("a", id=other["id"]), workflows.create("a", pipeline=other["tenant"] + "/pipeline.py:W"),
        ):
            try:
                said.append(["allowed", await call])
            except StepFailed as error:
                said.append([error.type, error.message])
        child = await workflows.create("child", forged, pipeline="Child")
        return said, child["id"]

class Child(Pipeline):
    async def run(self, event, step):
        return OWNER
"""


async def test_no_tenants_code_reaches_or_forges_itself_into_another(shop: Workshop) -> None:
    async with shop.running() as engine:
        engine.offer("workflows", WorkflowsBinding(engine))
        runs = await waiting(shop, HOSTILE)
        for n, run in enumerate(runs):
            await run.send_event("who", {"tenant": TENANTS[n - 1].name, "id": runs[n - 1].id})
        for n, run in enumerate(runs):
            state = await asyncio.wait_for(run.finished(), SECONDS)
            said, child = state.result
            assert [kind for kind, _ in said] == ["NotFound"] * 3 + ["Invalid"] * 4, said
            assert {message for _, message in said[:3]} == {f"There is no run {runs[n - 1].id!r}."}
            for (_, message), word in zip(said[3:], ("metadata", "tenant", "id", "pipeline"), strict=True):
                assert word in message
            made = await (await bind(engine, {"tenant": TENANTS[n].name}).get(child)).finished()
            assert (made.result, made.tenant, made.metadata) == (TENANTS[n].name, TENANTS[n].name, state.metadata)


async def test_metadata_of_one_tenant_gives_no_hold_on_another(shop: Workshop) -> None:
    async with shop.running() as engine:
        runs = await waiting(shop, HOSTILE)
        for n, tenant in enumerate(TENANTS):
            mine = bind(engine, {"tenant": tenant.name, "source": tenant.name})
            other = TENANTS[n - 1].name
            with pytest.raises(NotFound, match="There is no run"):
                await mine.get(runs[n - 1].id)
            with pytest.raises(Conflict, match="is taken"):
                await mine.create({}, id=runs[n - 1].id)
            with pytest.raises(Invalid, match=f"has value '{other}', but is bound to '{tenant.name}'"):
                await mine.create({}, metadata={"tenant": other})
            assert [run.id for run in await mine.runs()] == [runs[n].id]


async def test_a_loader_that_mixes_tenants_up_runs_nobodys_code(shop: Workshop) -> None:
    async def mixed_up(metadata: Mapping[str, Any]) -> Code:
        return await load(shop, TENANTS[int(metadata["tenant"][-2:]) - 1].name)

    async with shop.running() as engine:
        runs = await waiting(shop, HOSTILE)
    async with shop.running(loader=route(mixed_up)) as engine:
        for run in runs:
            await engine.send_event(run.id, "who", "somebody")
            state = await shop.until(lambda state: state.reason, run.id)
            assert "The code of this run has changed: it was created with" in str(state.reason)
            assert (state.state, list(state.steps), state.steps["who#1"].state) == ("waiting", ["who#1"], "waiting")


async def waiting(shop: Workshop, source: str) -> list[Handle]:
    """Have a run of each tenant, with code of its own, that waits."""
    for tenant in TENANTS:
        shop.sources[tenant.name] = f"OWNER = {tenant.name!r}\n{source}"
    made = [await bind(shop.engine, {"tenant": one.name, "source": one.name}).create({}) for one in TENANTS]
    for run in made:
        await shop.hibernating(run.id)
    return made


async def load(shop: Workshop, source: str) -> Code:
    return await shop.load({"source": source})
