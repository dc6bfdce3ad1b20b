"""Builds of `step.image`: a context from the workspace's layers, a builder, and an image that is the repository's own.

The step gets no socket: the builder is asked from here, with an archive. The image has no name that anybody could
write into a Dockerfile, but for a tag that nobody is told, which keeps it from being pruned. Steps name it by its id.
"""

import asyncio
import contextlib
import hashlib
import json
import re
import secrets
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from stepwell.engine.seams import Outcome, Output
from stepwell.errors import Invalid, Unavailable
from stepwell_runners import outcomes
from stepwell_runners.build_context import ImagePlan, dockerfile, pack
from stepwell_runners.builders import ClassicBuild, Client, ClientBuild, find_client
from stepwell_runners.classic_names import images_of
from stepwell_runners.command_plan import Asker
from stepwell_runners.images import BUILDS, BUILT, MADE_FOR, Images
from stepwell_runners.outcomes import BuildFailed, EngineFull
from stepwell_runners.reduce import Stack
from stepwell_runners.snapshot_notes import Keep, SnapshotNotes, collect
from stepwell_runners.streaming import DEFAULT_BOUNDS, Bounds, Process, watch

CLASSIC = (
    "Built by the engine's classic builder: no BuildKit is here, so nothing is built side by side and RUN --mount is "
    "unknown. Install the docker client's plugin buildx beside Stepwell."
)
_TAIL = 8 << 10
_MOST_KNOWN = 20
_MISSING = re.compile(
    r"pull access denied|manifest unknown|repository does not exist|failed to resolve|: not found|no such host"
    r"|failed to do request|error pulling image|unauthorized|load metadata|Get \"?https?://", re.IGNORECASE
)  # fmt: skip
_PROCESSOR = re.compile(r"exec format error|no match for platform|does not match the specified platform", re.IGNORECASE)


class ImageBuilds:
    """Builds images on one engine. Lives on one event loop; blocking calls run in threads."""

    def __init__(
        self, connect: Callable[[], Any], host: str, images: Images, *, state: Path, labels: Mapping[str, str],
        keep: Keep, allowed: bool = True,
    ) -> None:  # fmt: skip
        self._connect = connect
        self._host = host
        self._images = images
        self._labels = labels
        self._folder = state / "builds"
        self._notes = SnapshotNotes(state, "images")
        self._keep = keep
        self._allowed = allowed
        self._client: Client | None = None

    async def build(self, asked: ImagePlan, stack: Stack, output: Output, bounds: Bounds = DEFAULT_BOUNDS) -> Outcome:
        """Build an image; its id is the outcome's value. Raises Invalid and Unavailable for what cannot be begun."""
        if not self._allowed:
            raise Invalid("This server builds no images (STEPWELL_IMAGE_BUILDS=false). Name one with image=.")
        engine = await asyncio.to_thread(self._connect)
        self._folder.mkdir(mode=0o700, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._folder) as folder, tempfile.TemporaryFile(dir=folder) as context:
            await asyncio.to_thread(pack, asked, stack, context)
            context.seek(0)
            labels = {BUILT: self._images.mark_of(asked.asker.repository), **self._labels}
            process: Process
            client = await asyncio.to_thread(self._found, Path(folder))
            if client is None:
                output.note(CLASSIC)
                await asyncio.to_thread(self._check_classic, asked, dockerfile(asked, stack))
                *others, own = made_for(asked)
                known = await asyncio.to_thread(_known, engine, [*others, own], self._labels)
                labels[MADE_FOR] = own
                process = ClassicBuild(engine, asked, labels, context=context, folder=Path(folder), known=known)
            else:
                process = await ClientBuild.start(
                    client, asked, labels, context=context, host=self._host, folder=Path(folder)
                )
            tail = _Tail(output)
            exit_, timed_out = await watch(process, tail, asked.timeout, bounds)
            if timed_out or exit_.code != 0:
                if not timed_out and exit_.code is not None:
                    raise failure(tail.text)
                return outcomes.of_exit(exit_, asked.timeout if timed_out else None, full=False)
            image = (Path(folder) / "id").read_text().strip()
        made = await asyncio.to_thread(self._keep_image, engine, image, asked)
        return Outcome(True, made, seconds=exit_.seconds)

    def _found(self, folder: Path) -> Client | None:
        if self._client is None:
            self._client = find_client(self._host, folder)
        return self._client

    def _check_classic(self, asked: ImagePlan, text: str) -> None:
        """Refuse names that the classic builder would take for others' images, also in what ONBUILD of a base says."""
        nobody = Asker(asked.asker.tenant, asked.asker.repository)  # the builder pulls without credentials
        for image in images_of(asked.file, text):
            try:
                engine, found = self._images.ready(image, nobody, lambda said: None)
            except Invalid as error:
                raise BuildFailed(f"An image that FROM or COPY --from names cannot be used. {error}") from error
            if any("--" in line for line in engine.images.get(found).attrs["Config"].get("OnBuild") or ()):
                raise BuildFailed(
                    f"Image {image!r} has ONBUILD instructions with options, which are left to BuildKit. Have the "
                    "operator install the docker client's plugin buildx beside Stepwell, or name another image."
                )

    def _keep_image(self, engine: Any, image: str, asked: ImagePlan) -> str:
        """Tag an image, note it, and remove those that are too many; its id."""
        found = engine.images.get(image)
        tags = [tag.partition(":")[2] for tag in found.tags if tag.startswith(f"{BUILDS}:")]
        key = tags[0] if tags else secrets.token_hex(16)
        if not tags:
            found.tag(BUILDS, tag=key)
        if not self._notes.used(key):
            self._notes.made(key, asked.asker.repository, asked.file, int(found.attrs.get("Size", 0)))
        self.collect(engine, except_for=key)
        return str(found.id)

    def collect(self, engine: Any, except_for: str = "") -> None:
        """Remove images that no step has used for long, or are too much; what a container still uses stays for now."""
        collect(engine, BUILDS, self._labels, notes=self._notes, keep=self._keep, except_for=except_for)

    def let_go(self, scopes: Collection[str]) -> bool:
        """Have the next `collect` remove those of repositories that are gone; whether there are any. Blocks."""
        return self._notes.let_go(scopes)

    def recover(self) -> None:
        """Remove what builds had on disk when the server died. Blocks."""
        from stepwell_runners.reduce import remove

        with contextlib.suppress(FileNotFoundError):
            for left in self._folder.iterdir():
                remove(left)


def made_for(asked: ImagePlan) -> list[str]:
    """Return the words for those whose layers a build may take, its own last."""
    about = [asked.asker.repository, asked.network]
    return [hashlib.sha256(json.dumps([*about, maker]).encode()).hexdigest()[:32] for maker in asked.makers]


def _known(engine: Any, words: Sequence[str], labels: Mapping[str, str]) -> list[str]:
    """Return the ids of the images that the classic builder has made for somebody, the newest ones."""
    ours = [f"{label}={value}" for label, value in labels.items()]
    lists = (engine.api.images(BUILDS, filters={"label": [*ours, f"{MADE_FOR}={word}"]}) for word in words)
    return [str(one["Id"]) for found in lists for one in found[:_MOST_KNOWN]]


class _Tail:
    """An Output that keeps the last of what it passes on."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._last = b""

    @property
    def text(self) -> str:
        return self._last.decode(errors="replace")

    def write(self, data: bytes) -> None:
        self._last = (self._last + data)[-_TAIL:]
        self._output.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._output, name)


def failure(said: str) -> Exception:
    """Return what a failed build's last words mean."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    last = lines[-1][:500] if lines else "it said nothing"
    if "no space left on device" in said.lower():
        return EngineFull(
            "The disk of the container engine is full. Free some space there, for example with `docker system prune`, "
            "or the builder's cache with `docker builder prune`."
        )
    if "Cannot connect to the Docker daemon" in last or "does not answer any more" in last:
        return Unavailable(f"The container engine went away: {last}")
    if _PROCESSOR.search(said):
        return BuildFailed(f"An image of the build is made for another processor than this host's: {last}")
    if _MISSING.search(last):
        return BuildFailed(f"An image that FROM or COPY --from names is not on this host and cannot be pulled: {last}")
    return BuildFailed(f"The build failed: {last}")
