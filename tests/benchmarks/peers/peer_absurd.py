"""Absurd: its Python SDK on a PostgreSQL of its own. Polls every 5 ms, not every 250."""

import asyncio
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from absurd_sdk import AsyncAbsurd, AsyncTaskContext
from measured import RUNS, STEP_LIMIT_S, Marks, Peer, main
from postgres import Postgres


async def work() -> int:
    return 1


class Absurd(Peer):
    about = (
        f"absurd-sdk {version('absurd-sdk')}, PostgreSQL, polled every 5 ms; claims of {STEP_LIMIT_S} s; "
        "a waiting task is put aside"
    )
    parked = 4000  # PostgreSQL's files grow by steps: among 1,000 a run took 1,237 bytes, among these 1,065

    def __init__(self, directory: Path, marks: Marks) -> None:
        super().__init__(directory, marks)
        self.postgres = Postgres(directory)

    async def start(self) -> None:
        new = not self.postgres.data.exists()
        await self.postgres.start()
        if new:
            for argv in (["init"], ["create-queue", "default"]):
                command = [str(Path(sys.executable).with_name("absurdctl")), *argv, "-d", self.postgres.url]
                subprocess.run(command, check=True, capture_output=True)
        self.client = AsyncAbsurd(self.postgres.url)
        self.worker = AsyncAbsurd(self.postgres.url)
        self._register()
        self.task = asyncio.create_task(
            self.worker.start_worker(claim_timeout=STEP_LIMIT_S, concurrency=RUNS, poll_interval=0.005)
        )

    def _register(self) -> None:
        @self.worker.register_task("steps")
        async def steps(params: dict[str, object], ctx: AsyncTaskContext) -> None:
            for n in range(int(str(params["count"]))):
                await ctx.step("step", work)
                self.marks.reached(str(params["run"]), n)

        @self.worker.register_task("gated")
        async def gated(params: dict[str, object], ctx: AsyncTaskContext) -> None:
            self.marks.reached(str(params["run"]), -1)
            await ctx.await_event(f"go:{params['run']}")
            await ctx.step("step", work)
            self.marks.reached(str(params["run"]), 0)

        @self.worker.register_task("slow")
        async def slow(params: dict[str, object], ctx: AsyncTaskContext) -> None:
            while True:
                await ctx.step("step", self.slow_work)

    async def create(self, run: str, program: str, count: int) -> None:
        await self.client.spawn(program, {"run": run, "count": count}, queue="default")

    async def signal(self, run: str) -> None:
        await self.client.emit_event(f"go:{run}")

    async def stored(self) -> int:
        return self.postgres.stored()


if __name__ == "__main__":
    main(Absurd, __file__)
