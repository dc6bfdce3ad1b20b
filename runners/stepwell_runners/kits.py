"""Kits: the tool directories of one attempt, of `tools=` and `setup=`, and the variables that put them to use."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from stepwell.engine.seams import Attempt, Output
from stepwell.errors import Invalid
from stepwell_runners.command_plan import CommandPlan
from stepwell_runners.options import base_environment
from stepwell_runners.pythons import OWN, Python, pythons
from stepwell_runners.reduce import Stack
from stepwell_runners.setups import NPM, Setups, SetupSpec, environment_of, npm_spec, site_packages
from stepwell_runners.shelf import Shelf
from stepwell_runners.spec import FILES, TOOLS, Limits, Seen, ToolDir
from stepwell_runners.toolchains import Toolchain, Toolchains


@dataclass(frozen=True)
class Kit:
    """What an attempt gets beside its workspace."""

    python: Python
    link: ToolDir | None = None  # to the Python, where it is not Stepwell's own
    toolchain: Toolchain | None = None
    npm: ToolDir | None = None
    setup: ToolDir | None = None

    @property
    def shown(self) -> tuple[ToolDir, ...]:
        """The directories to bind."""
        return tuple(
            tool
            for tool in (self.link, self.toolchain.tool if self.toolchain else None, self.npm, self.setup)
            if tool is not None
        )

    def environment(self, given: Mapping[str, str], walled: bool) -> dict[str, str]:
        """Return a command's variables with those of the kit; the author's own win, but for PATH, which is led."""
        path = given.get("PATH", base_environment()["PATH"])
        own: dict[str, str] = {}
        if self.link:
            path = f"{TOOLS}/{self.link.name}/bin:{path}"
            own["PATH"] = path
        if self.toolchain:
            scratch = "/tmp" if walled else FILES  # noqa: S108 - a /tmp of its own
            own |= self.toolchain.environment(path, scratch)
        if self.npm:
            own |= environment_of(self.npm, own.get("PATH", path))
            del own["STEPWELL_SETUP"]
        if self.setup:
            node = own.get("NODE_PATH")
            own |= environment_of(self.setup, own.get("PATH", path)) | {"VIRTUAL_ENV": f"{TOOLS}/{self.setup.name}"}
            if node:
                own["NODE_PATH"] += f":{node}"
            if self.toolchain:  # whose programs run on an interpreter of their own
                own["PYTHONPATH"] = site_packages(self.setup, self.python)
        return {**own, **given, "PATH": own.get("PATH", path)} if own else dict(given)


@dataclass(frozen=True)
class Kits:
    """Holds what attempts ask for while they run."""

    shelf: Shelf
    toolchains: Toolchains
    setups: Setups

    @asynccontextmanager
    async def held(
        self, attempt: Attempt, asked: CommandPlan, stack: Stack, output: Output, seen: Seen
    ) -> AsyncIterator[Kit]:
        """Hold the kit of an attempt, making what is new. Raises what Toolchains and Setups raise."""
        if asked.image:
            yield Kit(pythons()[OWN])
            return
        python = pythons()[asked.python]
        packages = [tool.removeprefix(NPM) for tool in asked.tools if tool.startswith(NPM)]
        wheels = [tool for tool in asked.tools if not tool.startswith(NPM)]
        if asked.setup_inputs and not asked.setup:
            raise Invalid('setup_inputs needs setup: write setup="pip install -r requirements.txt" beside it.')
        async with AsyncExitStack() as holding:
            link = toolchain = npm = setup = None
            if asked.python != OWN:
                link = ToolDir(*await holding.enter_async_context(self._linked(python)))
            if wheels:
                toolchain = await holding.enter_async_context(self.toolchains.held(wheels, output.note, python))
            if packages:
                spec = npm_spec(attempt.tenant, packages)
                npm = await holding.enter_async_context(self.setups.held(spec, stack, output, seen))
            if asked.setup:
                spec = SetupSpec(
                    tenant=attempt.tenant,
                    repository=asked.repository,
                    makers=asked.setup_makers,
                    command=asked.setup,
                    env=attempt.options.get("env") or {},
                    inputs=asked.setup_inputs,
                    tools=Kit(python, None, toolchain, npm).shown,
                    python=python,
                    timeout=asked.timeout,
                    hosts=(asked.network.hosts if asked.network else None) or frozenset(),
                    limits=Limits(asked.memory or Limits.memory, asked.processes or Limits.processes),
                )
                setup = await holding.enter_async_context(self.setups.held(spec, stack, output, seen))
            yield Kit(python, link, toolchain, npm, setup)

    @asynccontextmanager
    async def _linked(self, python: Python) -> AsyncIterator[tuple[Path, str]]:
        """Hold a directory in which this Python is `python`."""

        def link(fresh: Path) -> None:
            (fresh / "bin").mkdir(parents=True)
            for name in ("python", "python3", f"python{python.version}"):
                (fresh / "bin" / name).symlink_to(python.path)

        key = f"python-{python.version}-{hashlib.sha256(python.path.encode()).hexdigest()[:12]}"
        async with self.shelf.held(key, lambda fresh: asyncio.to_thread(link, fresh)) as place:
            yield place, key
