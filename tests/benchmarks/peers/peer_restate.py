"""Restate: the server of its npm package (one node, RocksDB) and its Python SDK behind hypercorn over HTTP/2.

Waiting workflows suspend at once (`inactivity_timeout` 0), as a hibernating run does.
"""

import asyncio
import http.client
import json
import os
import subprocess
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path

import restate
from hypercorn.asyncio import serve
from hypercorn.config import Config
from measured import Marks, Peer, free_port, main, spawn, until, until_listening

SERVER = os.environ["RESTATE_SERVER"]


async def work() -> int:
    return 1


def server_version() -> str:
    return subprocess.run([SERVER, "--version"], capture_output=True, text=True, check=True).stdout.strip()


class Restate(Peer):
    about = (
        f"restate-sdk {version('restate_sdk')} behind hypercorn {version('hypercorn')}, {server_version()} on RocksDB; "
        "a waiting workflow is suspended at once"
    )

    def __init__(self, directory: Path, marks: Marks) -> None:
        super().__init__(directory, marks)
        self.steps, self.gated, self.slow = self._programs()

    def _programs(self) -> list[restate.Workflow]:
        steps = restate.Workflow("steps")
        gated = restate.Workflow("gated", inactivity_timeout=timedelta(0))
        slow = restate.Workflow("slow")

        @steps.main("run")
        async def run_steps(ctx: restate.WorkflowContext, count: int) -> None:
            for n in range(count):
                await ctx.run_typed("step", work)
                self.marks.reached(ctx.key(), n)

        @gated.main("run")
        async def run_gated(ctx: restate.WorkflowContext, count: int) -> None:
            self.marks.reached(ctx.key(), -1)
            await ctx.promise("go").value()
            await ctx.run_typed("step", work)
            self.marks.reached(ctx.key(), 0)

        @gated.handler("go")
        async def go(ctx: restate.WorkflowSharedContext, count: int) -> None:
            await ctx.promise("go").resolve(True)

        @slow.main("run")
        async def run_slow(ctx: restate.WorkflowContext, count: int) -> None:
            while True:
                await ctx.run_typed("step", self.slow_work)

        return [steps, gated, slow]

    async def start(self) -> None:
        ports = self._ports()
        self.ingress, self.admin = ports["ingress"], ports["admin"]
        config = Config()
        config.bind = [f"127.0.0.1:{ports['service']}"]
        app = restate.app([self.steps, self.gated, self.slow])
        self.task = asyncio.create_task(serve(app, config, shutdown_trigger=asyncio.Event().wait))
        os.environ.update(
            RESTATE_INGRESS__BIND_ADDRESS=f"127.0.0.1:{self.ingress}",
            RESTATE_ADMIN__BIND_ADDRESS=f"127.0.0.1:{self.admin}",
            RESTATE_BIND_ADDRESS=f"127.0.0.1:{ports['node']}",
            RESTATE_DISABLE_TELEMETRY="true",
        )
        argv = [SERVER, "--base-dir", str(self.directory / "restate"), "--node-name", "bench", "--no-logo"]
        self.server = spawn(argv, self.directory / "server.log")
        await until_listening(ports["service"], "hypercorn")
        code = {"uri": f"http://127.0.0.1:{ports['service']}", "force": True}
        await until(lambda: self._post(self.admin, "/deployments", code), "Restate")
        await until(
            lambda: self.create(f"probe{os.getpid()}", "steps", 0), "Restate's ingress"
        )  # it learns of it later

    def _ports(self) -> dict[str, int]:
        """The same after a restart: a run belongs to the address at which its code was registered."""
        kept = self.directory / "ports.json"
        if not kept.exists():
            kept.write_text(json.dumps({name: free_port() for name in ("ingress", "admin", "node", "service")}))
        ports: dict[str, int] = json.loads(kept.read_text())
        return ports

    async def create(self, run: str, program: str, count: int) -> None:
        await self._post(self.ingress, f"/{program}/{run}/run/send", count)

    async def signal(self, run: str) -> None:
        await self._post(self.ingress, f"/gated/{run}/go", 0)

    async def _post(self, port: int, path: str, body: object) -> None:
        await asyncio.to_thread(_post, port, path, body)


def _post(port: int, path: str, body: object) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    try:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read().decode()
        if answer.status >= 500 or answer.status == 404:
            raise ConnectionError(text)
        if answer.status >= 400:
            raise RuntimeError(f"{path}: {answer.status} {text}")
    finally:
        connection.close()


if __name__ == "__main__":
    main(Restate, __file__)
