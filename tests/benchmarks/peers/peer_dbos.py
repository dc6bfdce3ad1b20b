"""DBOS: its Python library, the worker, on a PostgreSQL of its own (its default for production)."""

import logging
from importlib.metadata import version
from pathlib import Path

from dbos import DBOS, SetWorkflowID
from measured import Marks, Peer, main
from postgres import Postgres

PEER: "list[Dbos]" = []  # its workflows must be module-level functions


class Dbos(Peer):
    about = f"dbos {version('dbos')}, PostgreSQL with LISTEN/NOTIFY; a waiting workflow stays in memory"
    parked = 4000  # PostgreSQL's files grow by steps: among 1,000 a run took 688 bytes, among these 811

    def __init__(self, directory: Path, marks: Marks) -> None:
        super().__init__(directory, marks)
        self.postgres = Postgres(directory)
        PEER.append(self)

    async def start(self) -> None:
        await self.postgres.start()
        logging.disable(logging.WARNING)
        url = self.postgres.url.replace("postgresql://", "postgresql+psycopg://")
        config = {
            "name": "bench", "system_database_url": url, "application_version": "1", "executor_id": "local",
            "log_level": "CRITICAL",
        }  # fmt: skip
        DBOS(config=config)
        DBOS.launch()

    async def create(self, run: str, program: str, count: int) -> None:
        with SetWorkflowID(run):
            await DBOS.start_workflow_async(PROGRAMS[program], run, count)

    async def signal(self, run: str) -> None:
        await DBOS.send_async(run, "go")

    async def stored(self) -> int:
        return self.postgres.stored()


@DBOS.step()
async def work() -> int:
    return 1


@DBOS.step()
async def slow_work() -> int:
    return await PEER[0].slow_work()


@DBOS.workflow()
async def steps(run: str, count: int) -> None:
    for n in range(count):
        await work()
        PEER[0].marks.reached(run, n)


@DBOS.workflow()
async def gated(run: str, count: int) -> None:
    PEER[0].marks.reached(run, -1)
    await DBOS.recv_async(timeout_seconds=3600)
    await work()
    PEER[0].marks.reached(run, 0)


@DBOS.workflow()
async def slow(run: str, count: int) -> None:
    while True:
        await slow_work()


PROGRAMS = {"steps": steps, "gated": gated, "slow": slow}

if __name__ == "__main__":
    main(Dbos, __file__)
