"""The composition root: the one place that puts all rooms together.

Order matters. Zygote and engine start first: the zygote must be forked from a process without anything in its memory,
and runs go on while the web's libraries are still being imported, which takes longer than everything else together.

    lock → socket → isolates, engine → services → web
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote, urlsplit

from pydantic import ValidationError

from stepwell.ci.memory import freeze, share_one_arena
from stepwell.cli.listening import address_of, listen
from stepwell.cli.lock import StateLock, tell_address
from stepwell.cli.web_thread import WebThread
from stepwell.engine.garbage import collection_paused
from stepwell.errors import Bug, Invalid, Unavailable
from stepwell.settings import Settings

if TYPE_CHECKING:
    from stepwell.ci.services import Foundation, Services
    from stepwell.engine.engine import Engine
    from stepwell.tenants.actors import Actor
    from stepwell_runners.executor import LocalExecutor
    from stepwell_runners.isolates import ZygoteIsolates
    from stepwell_runners.spec import Finding
    from stepwell_runners.trees import Trees

HOME = "home"
ADMIN = "admin"


def settings_with(**given: Any) -> Settings:
    """Read the settings, what was said on the command line first. Raises Invalid with the variable's name."""
    try:
        settings = Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "?"
        raise Invalid(f"Setting STEPWELL_{name.upper()} has value {first['input']!r}: {first['msg']}.") from error
    return settings.model_copy(update={"state": settings.state.expanduser().absolute()})


def state_home() -> Path:
    """Where this person's programs keep what they need again."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")


def prepare(state: Path) -> None:
    """Make the state directory, for nobody else to read."""
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise Unavailable(
            f"State directory {state} cannot be made: {error.strerror}. Set STEPWELL_STATE to a directory of yours."
        ) from error
    if not os.access(state, os.W_OK | os.X_OK):
        raise Unavailable(f"State directory {state} is not writable. Set STEPWELL_STATE to a directory of yours.")


def link_for(settings: Settings, person: str, base: str, page: str = "") -> str:
    """Make a sign-in link from the database alone; a server may be running on it or not."""
    from stepwell.store.store import Store
    from stepwell.tenants.tenants import Tenants

    if not settings.database.exists():
        raise Unavailable(
            f"There is no Stepwell in {settings.state}. Start one with `stepwell up`, or set STEPWELL_STATE."
        )
    store = Store(settings.database)
    try:
        return _link(base, Tenants(store, settings.state / "key").links.issue(person), page)
    finally:
        store.close()


def _link(base: str, code: str, page: str) -> str:
    path = urlsplit(page).path if page else ""
    return f"{base}/signin?code={quote(code)}" + (f"&next={quote(path, safe='/')}" if path else "")


class Wall:
    """The wall as it turned out on this host; `text` says why there is none, "" when there is one."""

    def __init__(self, isolates: "ZygoteIsolates", *, may_do_without: bool = False) -> None:
        self.isolates = isolates
        self.text = ""
        self._may_do_without = may_do_without

    async def start(self) -> None:
        """Start the isolates; where the host refuses the wall, without one if that was allowed."""
        await self.isolates.start()
        self.text = self._words([one for one in await self.isolates.probe() if one.name == "wall" and not one.ok])
        if self.text and self._may_do_without and self.isolates.mode is None:
            self.isolates.options = replace(self.isolates.options, wall="none")
            await self.isolates.start()

    @staticmethod
    def _words(missing: "Sequence[Finding]") -> str:
        told = ((one.detail.removeprefix("none: "), one.remedy) for one in missing)
        return " ".join(f"There is no wall around steps: {detail}. {remedy}" for detail, remedy in told)


class Rooms:
    """Everything but HTTP: services over a running engine."""

    def __init__(self, settings: Settings, wall: Wall, services: "Services") -> None:
        self.settings = settings
        self.services = services
        self._wall = wall

    @property
    def wall(self) -> str:
        """Why there is no wall around steps; "" when there is one."""
        return self._wall.text

    @classmethod
    @contextmanager
    def open(cls, settings: Settings, *, may_do_without_wall: bool = False) -> "Iterator[Rooms]":
        """Lock the state directory and start the engine on it. Raises Conflict when another server uses it."""
        prepare(settings.state)
        with ExitStack() as kept:
            kept.enter_context(StateLock(settings.state))
            yield cls._start(settings, kept, may_do_without_wall)

    @classmethod
    def _start(cls, settings: Settings, kept: ExitStack, may_do_without_wall: bool) -> "Rooms":
        from stepwell.ci.answers import answer_of
        from stepwell.ci.services import Foundation, Services
        from stepwell.cli.host import LiveHost
        from stepwell.engine.thread import EngineThread
        from stepwell_runners.lazy import Lazy
        from stepwell_runners.trees import Trees

        lazy = Lazy(settings.state)
        lazy.start()
        trees = Trees(settings.state, lazy=lazy, limit=settings.trees_gb << 30)
        kept.callback(trees.close)
        isolates = _isolates(settings, trees)
        executor = _executor(settings, isolates, trees)
        base = Foundation.open(settings)
        kept.callback(base.close)
        engine = _engine(base, isolates, executor)
        wall = Wall(isolates, may_do_without=may_do_without_wall)
        thread = EngineThread(engine, before=[wall.start], after=[executor.close, isolates.stop])
        thread.start()
        kept.callback(thread.stop)
        base.tenants.bootstrap(HOME, ADMIN)
        host = LiveHost(settings, isolates, executor, lazy, lambda: answer_of(thread, isolates.probe()))
        services = Services.build(base, thread, isolates, executor.moments, host)
        services.start()
        kept.callback(services.stop)
        return cls(settings, wall, services)

    def admin(self) -> "Actor":
        """The first person of this server, with all that they may do."""
        tenants = self.services.tenants
        return tenants.people.actor(tenants.bootstrap(HOME, ADMIN).id)

    def token(self, name: str, scopes: Sequence[str], days: float = 365) -> str:
        """Issue a token for the first person."""
        return self.services.tenants.tokens.issue(self.admin(), name, scopes=scopes, days=days).secret

    def accepts(self, token: str) -> bool:
        """Say whether a token is still good."""
        return self.services.tenants.tokens.actor(token) is not None

    def link(self, page: str = "") -> str:
        """Make a sign-in link for the first person that leads to a page."""
        return _link(self.settings.base_url, self.services.tenants.links.issue(self.admin().name), page)


def _isolates(settings: Settings, trees: "Trees") -> "ZygoteIsolates":
    from stepwell_runners.isolates import ZygoteIsolates
    from stepwell_runners.options import IsolateOptions

    options = IsolateOptions(
        "none" if settings.trust_all_code else "full", blanks=settings.blanks, most_blanks=settings.most_blanks
    )
    return ZygoteIsolates(settings.state, trees.resolve, options, trees=trees)


def _executor(settings: Settings, isolates: "ZygoteIsolates", trees: "Trees") -> "LocalExecutor":
    from stepwell_runners.collected import Bound
    from stepwell_runners.executor import LocalExecutor
    from stepwell_runners.snapshot_notes import Keep
    from stepwell_runners.streaming import Bounds

    return LocalExecutor.at(
        settings.state, isolates, trees, docker_host=settings.docker_host, runtime=settings.runtime,
        warm_containers=settings.warm_containers,
        snapshots=Keep(settings.snapshots_gb << 30, settings.keep_snapshots_days * 86_400),
        bounds=Bounds(
            settings.step_output_mb << 20, settings.step_disk_gb << 30, settings.tenant_disk_gb << 30,
            settings.step_memory_gb << 30 if settings.step_memory_gb else None,
        ),
        tools=settings.tools_gb << 30, network=settings.network,
        artifacts=Bound(bytes=settings.artifacts_mb << 20, raised_by="STEPWELL_ARTIFACTS_MB"),
        cache_bytes=settings.caches_gb << 30, image_builds=settings.image_builds,
        containers_reach=settings.containers_reach,
    )  # fmt: skip


def _engine(base: "Foundation", isolates: "ZygoteIsolates", executor: "LocalExecutor") -> "Engine":
    from stepwell.ci.caps import RunCaps
    from stepwell.ci.children import metadata_of_child
    from stepwell.dynamic import WorkflowsBinding
    from stepwell.engine.engine import Engine
    from stepwell.store.journal_sqlite import SqliteJournal

    settings = base.settings
    engine = Engine(
        SqliteJournal(settings.database), isolates, base.loader, logs=base.logs, executor=executor,
        preparer=base.preparer, gate=base.gate,
        concurrent_turns=settings.concurrent_turns, concurrent_steps=settings.concurrent_steps,
        steps_per_tenant=settings.steps_per_tenant,
        heritage=metadata_of_child,
        caps=RunCaps(base.tenants.quotas, settings.runs_per_tenant, settings.runs_per_repository), blobs=base.blobs,
    )  # fmt: skip
    engine.offer("workflows", WorkflowsBinding(engine))
    engine.offer("repository", base.promotions)
    return engine


class Server:
    """The rooms and the web before them. `with Server.start(settings) as server: …` stops it at the end."""

    def __init__(self, rooms: Rooms, web: WebThread, kept: ExitStack) -> None:
        self.rooms = rooms
        self._web = web
        self._kept = kept

    @classmethod
    def start(cls, settings: Settings, *, may_do_without_wall: bool = False) -> "Server":
        """Start everything and return once pages are served."""
        share_one_arena()
        with collection_paused(), ExitStack() as kept:
            prepare(settings.state)
            listening = kept.enter_context(contextlib.closing(listen(settings.host, settings.port)))
            taken = {"port": listening.getsockname()[1], "url": settings.url or address_of(listening)}
            settings = settings.model_copy(update=taken)
            rooms = kept.enter_context(Rooms.open(settings, may_do_without_wall=may_do_without_wall))
            web = kept.enter_context(WebThread(rooms.services, rooms.wall, listening))
            tell_address(settings.state, settings.base_url)
            freeze()
            return cls(rooms, web, kept.pop_all())
        raise Bug("The server did not start and did not say why. Please report.")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._kept.close()

    def check(self) -> None:
        """Raise when a part of the server has died, so that whoever restarts it notices."""
        self._web.check()
