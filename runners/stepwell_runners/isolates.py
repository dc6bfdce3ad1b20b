"""ZygoteIsolates: the engine's side of the zygote, its isolates and the wall around them.

An isolate is a blank, from the pool or made now, that is claimed with an order and with what the mounter has made of
the files it sees. It is in its cgroup and has said that its wall is up before anybody gets hold of it; only then code,
parameters and secrets go in, over its own socket. It is over when the zygote has reaped its process 1, for the kernel
lets that happen only after every other process in it is gone; without a zygote its pidfd says the same.
"""

import asyncio
import base64
import errno
import itertools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepwell.engine.seams import IsolateSpec
from stepwell.errors import Invalid, TryLater, Unavailable
from stepwell_runners import house, probe, seccomp
from stepwell_runners import syscalls as sys_
from stepwell_runners.blanks import Blanks
from stepwell_runners.cgroups import Cgroups
from stepwell_runners.command import CommandProcess, discard, order_of, without_wall
from stepwell_runners.demand import Demand
from stepwell_runners.egress import EgressProxy, proxy_environment
from stepwell_runners.isolate import Isolate
from stepwell_runners.link import Gone, Refused, Reply
from stepwell_runners.mounter import HUNG_UP
from stepwell_runners.mounts import Mounts
from stepwell_runners.options import IsolateOptions, base_environment, interpreter, prefixes
from stepwell_runners.spec import CommandSpec, Directory, Egress, Finding, Limits, Overlay, Shown, shown
from stepwell_runners.threads import finished
from stepwell_runners.uids import TenantIndexes
from stepwell_runners.wall import Mode, Order
from stepwell_runners.weights import Weights
from stepwell_runners.zygotes import Zygotes

if TYPE_CHECKING:
    from stepwell_runners.trees import Form, Hold, Trees  # needs more than a host for isolates has to have

_SCARCE = (errno.EAGAIN, errno.ENOMEM, errno.ENOSPC, errno.EMFILE, errno.ENFILE)
_MOUNTS = 64  # per isolate


@dataclass(frozen=True)
class _Directory:
    """A tree that nobody takes away."""

    lowers: tuple[Path, ...]

    def release(self) -> None:
        """Nothing holds it."""


class ZygoteIsolates:
    """Implements Isolates, and commands. Lives on the engine's event loop.

    `tree` turns `Code.tree` into the directory of that tree; where trees come and go, `trees` holds it as long as an
    isolate sees it. `index` gives each tenant its number for good.
    """

    def __init__(
        self,
        state: Path,
        tree: Callable[[str], Path],
        options: IsolateOptions | None = None,
        index: Callable[[str], int] | None = None,
        trees: "Trees | None" = None,
    ) -> None:
        self.state = state
        self.options = options or IsolateOptions()
        self.mode: Mode | None = None
        self.environment = base_environment()
        self._tree = tree
        self._trees = trees
        self._index = index or TenantIndexes(state / "uids.json")
        self._egress = EgressProxy(self.options.exceptions, self.options.upstream)
        self._cgroups = Cgroups()
        self._weights = Weights()
        self._ids = itertools.count(1)
        self._refusals: dict[str, Refused] = {}
        self._overlay: Refused | None = None
        self._blanks: Blanks | None = None
        self._mounts: Mounts | None = None
        self._problem = "isolates have not been started"

    @property
    def walled(self) -> bool:
        """Whether isolates have a wall around them."""
        return self.mode is not None and self.mode != "none"

    @property
    def overlays(self) -> bool:
        """Whether a workspace may be an Overlay; if not, it has to be a Directory."""
        return self.walled and self._overlay is None

    @property
    def divides_processors(self) -> bool:
        """Whether an isolate can be held to a part of the processors."""
        return "cpu" in self._cgroups.parents

    async def start(self) -> None:
        """Start zygote and mounter in the best way the host allows. What is missing is kept for `probe` and `open`."""
        self._cgroups.close()
        if self.options.wall == "none":
            modes: tuple[Mode, ...] = ("none",)
            self._cgroups = Cgroups()
        else:
            modes = ("house", "root") if os.geteuid() == 0 else ("user",)
            self._cgroups = Cgroups.find()
        try:
            programs = seccomp.programs() if self.options.wall == "full" else (b"", b"")
        except Unavailable as error:
            self._problem = str(error)
            self._refusals["house"] = Refused({"step": "seccomp", "errno": None, "text": str(error)})
            return
        for mode in modes:
            if await self._try(mode, programs):
                self.mode = mode
                break
        else:
            refused = next(reversed(list(self._refusals.values())))
            self._problem = (
                f"This host does not give the wall: {refused} (errno {refused.number}). {probe.remedy(refused)}"
            )
            return
        if mode != "none":
            self._mounts = Mounts(root=mode != "user")
            self._overlay = await self._mounts.try_overlay(self.state / "work", self._owner(0))

    async def _try(self, mode: Mode, programs: tuple[bytes, bytes]) -> bool:
        """Start a zygote of this kind and boot one isolate."""
        zygotes = Zygotes(
            self._config(mode, programs), self.options.isolates_per_zygote, self.options.seconds_per_zygote
        )
        least = self.options.blanks if mode != "none" else 0
        demand = Demand(least, self.options.most_blanks, self.options.blanks_idle_seconds)
        blanks = Blanks(zygotes, self._cgroups, demand)
        nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        try:
            isolate = await self._boot(blanks, self._order(0, Limits(), command=True), [], nowhere)
        except (Refused, Gone, TimeoutError) as error:
            refused = error if isinstance(error, Refused) else Refused({"step": "start", "text": repr(error)})
            self._refusals[mode] = refused
            await blanks.stop()
            return False
        finally:
            os.close(nowhere)
        isolate.sock.close()
        await isolate.exit()
        self._blanks = blanks
        return True

    def _config(self, mode: Mode, programs: tuple[bytes, bytes]) -> dict[str, Any]:
        library = {name: str(path) for name, path in self.options.library.items()}
        return {
            "mode": mode,
            "environment": self.environment,
            "interpreter": interpreter(),
            "prefixes": prefixes(),
            "library": library,
            "library_roots": sorted({path.removesuffix(f"/{name}") for name, path in library.items()}),
            "origins": [str(Path(__file__).parent.parent)],
            "entry": self.options.entry,
            "seccomp": [base64.b64encode(program).decode() for program in programs],
            "landlock": sys_.landlock_version(),
        }

    async def stop(self) -> None:
        """Kill all isolates, then zygote and mounter; returns when they are gone."""
        if self._blanks is not None:
            await self._blanks.stop()
        if self._mounts is not None:
            await self._mounts.stop()
        self._cgroups.close()
        self.mode, self._blanks, self._problem = None, None, "isolates have been stopped"

    async def open(self, spec: IsolateSpec) -> Isolate:
        """Boot an isolate for code."""
        blanks = self._ready()
        if spec.code.tree is None:
            return await self._make(blanks, self._order(self._index(spec.tenant), Limits(), mounts={}), {})
        hold = await self._hold(spec.code.tree)
        mounts: dict[str, Shown] = {"workspace": shown(hold.lowers)}
        try:
            order = self._order(self._index(spec.tenant), Limits(), mounts=mounts)
            isolate = await self._make(blanks, order, mounts)
        except BaseException:
            hold.release()
            raise
        isolate.on_end(hold.release)
        return isolate

    async def command(self, spec: CommandSpec) -> CommandProcess:
        """Boot an isolate and start a command in it. Raises Invalid, TryLater or Unavailable."""
        blanks = self._ready()
        environment = dict(self.environment)
        private = None
        if not self.walled:
            spec, private = without_wall(spec)
            line = order_of(spec, environment, private)
        else:
            if spec.network is not None:
                environment |= proxy_environment()
            line = order_of(spec, environment)
        mounts: dict[str, Shown] = {} if spec.workspace is None else {"workspace": spec.workspace}
        for tool in spec.tools:
            _check_name(tool.name)
            mounts[tool.name] = Directory(tool.path, tool.read_only)
        network = spec.network if self.walled else None
        order = self._order(self._index(spec.tenant), spec.limits, mounts=mounts, command=True, network=network)
        reading, writing = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(reading, False)
        try:
            isolate = await self._make(blanks, order, mounts, writing, network)
        except BaseException:
            os.close(reading)
            if private:
                discard(private)
            raise
        finally:
            os.close(writing)
        if private:
            isolate.on_end(lambda: discard(private))
        return CommandProcess(isolate, reading, line)

    async def probe(self) -> list[Finding]:
        """Say what this host can give."""
        return probe.findings(self.mode, self._refusals, self._cgroups, self._overlay, self.options)

    async def filled(self) -> None:
        """Wait until the pool of blanks has its size, or nothing more is done about it."""
        if self._blanks is not None:
            await self._blanks.filled()

    async def rested(self) -> None:
        """Wait until they have done what they can before they are asked for, too."""
        if self._blanks is not None:
            await self._blanks.rested()

    def standing(self) -> list[int]:
        """Pids, as the host sees them, of the blanks that stand ready."""
        return [blank.pid for blank in self._blanks.standing] if self._blanks is not None else []

    def wanted(self) -> int:
        """How many blanks should stand now."""
        return self._blanks.wanted if self._blanks is not None else 0

    def _owner(self, index: int) -> int:
        """The host's uid of the tenant with this index."""
        return os.geteuid() if self.mode == "user" else house.host_id(index)

    async def _hold(self, reference: str) -> "Hold | _Directory":
        """Hold the files of a tree. One seen for the first time is made, or begun to be: not on this loop."""
        trees = self._trees
        if trees is None:
            return _Directory((await asyncio.to_thread(self._tree, reference),))
        if self.overlays and (known := trees.hold_known(reference)):
            return known
        form: Form = "any" if self.overlays else "whole"
        return await finished(asyncio.to_thread(trees.hold, reference, form), lambda hold: hold.release())

    def _ready(self) -> Blanks:
        if self._blanks is None:
            raise Unavailable(self._problem)
        return self._blanks

    def _order(
        self,
        index: int,
        limits: Limits,
        mounts: dict[str, Shown] | None = None,
        command: bool = False,
        network: Egress | None = None,
    ) -> Order:
        workspace = (mounts or {}).get("workspace")
        return Order(
            index=index,
            command=command,
            proxy=network is not None,
            memory=limits.memory,
            cgroup=self._cgroups.version > 0,
            processes=limits.processes,
            cpu_seconds=limits.cpu_seconds or 0,
            file_size=limits.file_size,
            open_files=max(limits.open_files, 256),
            tmp=limits.tmp,
            processors=limits.processors,
            mounts=tuple(mounts or ()) if self.options.wall == "full" else (),
            directory=str(workspace.path) if self.options.wall == "none" and isinstance(workspace, Directory) else "",
        )

    async def _make(
        self,
        blanks: Blanks,
        order: Order,
        mounts: dict[str, Shown],
        output: int | None = None,
        network: Egress | None = None,
    ) -> Isolate:
        """Boot it, and say what went wrong in the words of the caller."""
        if len(mounts) > _MOUNTS:
            raise Invalid(f"An isolate takes {_MOUNTS} directories, not {len(mounts)}.")
        seen = list(mounts.values()) if order.mounts else []
        try:
            try:
                return await self._boot(blanks, order, seen, output, network)
            except Gone:  # the zygote was killed meanwhile, or the blank; the next one may do it
                if any(isinstance(mount, Overlay) for mount in seen):
                    raise  # a volatile overlay mounts once
                return await self._boot(blanks, order, seen, output, network, new=True)
        except Refused as refused:
            if refused.number in _SCARCE:
                raise TryLater(f"This host has no room for another isolate: {refused}.", 1.0) from refused
            raise Unavailable(f"The isolate could not be made: {refused}. {probe.remedy(refused)}") from refused
        except (Gone, TimeoutError) as gone:
            raise TryLater(f"An isolate could not be made: its process did not answer ({gone!r}).", 0.1) from gone

    async def _boot(
        self,
        blanks: Blanks,
        order: Order,
        mounts: Sequence[Shown],
        output: int | None = None,
        network: Egress | None = None,
        *,
        new: bool = False,
    ) -> Isolate:
        """Claim a blank with what it shall see. A new one is forked while the mounts are made."""
        blank = await blanks.take(new=new)
        making: asyncio.Future[Reply] | None = None
        try:
            blank.tell(order, output)
            if mounts and self._mounts is not None:
                making = await self._mounts.send(next(self._ids), self._owner(order.index), mounts, blank.sock)
                making.add_done_callback(blank.give_up)
            isolate, received = await blank.claim(order)
        except BaseException as error:
            blank.discard()
            refused = making.exception() if making and making.done() and not making.cancelled() else None
            if isinstance(error, Gone) and isinstance(refused, Refused) and refused.step != HUNG_UP:
                raise refused from error
            raise
        self._weights.add(order.index, isolate)
        isolate.begin(gentle=self.options.wall == "none" and order.command)
        if network is not None:
            isolate.on_end(self._egress.serve(received[0], network))
        return isolate


def _check_name(name: str) -> None:
    if not name or name == "workspace" or not all(c.isalnum() or c in "._-" for c in name) or name.startswith("."):
        raise Invalid(f"A tool directory's name is letters, digits, `.`, `_` and `-`, not {name!r}.")
