"""Images: which ones a step may name, where they are, and how they get here.

Images of registries are shared by all tenants. What was made here is not: a snapshot is never named at all, and an
image that `step.image` has built is named by its id and given only to the repository that built it, see BUILT. What was
pulled with a tenant's credentials loses its name at once and gets one that only we can tell, for that tenant.
"""

import contextlib
import hashlib
import json
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from stepwell.errors import Invalid
from stepwell_runners.command_plan import Asker
from stepwell_runners.container_process import check_space

SNAPSHOTS = "stepwell-snapshot"
BUILDS = "stepwell-image"
PRIVATE = "stepwell-private"
BUILT = "stepwell.built"
"""The label of an image that was built here; says for which repository, see `mark_of`."""
MADE_FOR = "stepwell.made-for"
"""The label that says for whom it was built there, and how, where a builder's own cache does not ask."""
_EMULATORS = Path("/proc/sys/fs/binfmt_misc")  # programs that this kernel gives to another one to run
_ID = re.compile(r"sha256:[0-9a-f]{64}")
_PROGRESS_SECONDS = 5.0

Note = Callable[[str], None]


class Images:
    """The images of one engine. Blocks; called from threads. `secret` is a text that nobody else can know."""

    def __init__(
        self, connect: Callable[[], Any], host: str, labels: Mapping[str, str], secret: Callable[[], str]
    ) -> None:
        self._connect = connect
        self._local = host.startswith("unix://")
        self._labels = labels
        self._secret = secret
        self._pulling: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._processor = ""  # of the engine's host, once it was asked for

    def mark_of(self, repository: str) -> str:
        """Return the word by which a repository's images are known."""
        return hashlib.sha256(f"{sorted(self._labels.items())} {repository}".encode()).hexdigest()[:32]

    def known(self, image: str, asker: Asker) -> str | None:
        """Return the id of an image that is on the engine's host, None when it would have to be pulled."""
        import docker.errors

        try:
            engine = self._connect()
            if _ID.fullmatch(image):
                return self._built(engine, image, asker.repository)
            found = self._here(engine, reference_of(image), asker)
        except (docker.errors.DockerException, Invalid):
            return None
        return None if found is None else str(found.id)

    def ready(self, image: str, asker: Asker, note: Note) -> tuple[Any, str]:
        """Return the engine and the id of an image, pulled when it is missing. Raises Invalid with what is wrong."""
        import docker.errors

        engine = self._connect()
        if _ID.fullmatch(image):
            return engine, self._built(engine, image, asker.repository)
        image = reference_of(image)
        with self._pulling[image]:  # while it is pulled for one tenant, another must not find it
            try:
                found = self._here(engine, image, asker) or self._pulled(engine, image, asker, note)
            except docker.errors.APIError as error:
                raise Invalid(
                    f"image has value {image!r}, which the container engine refuses: {error.explanation}"
                ) from error
        if self._local:
            self._processor = self._processor or str(engine.version().get("Arch", ""))
            check_architecture(image, str(found.attrs.get("Architecture", "")), self._processor)
        return engine, found.id

    def _here(self, engine: Any, image: str, asker: Asker) -> Any | None:
        """Return an image that is on the host, for everybody or for this tenant."""
        import docker.errors

        for name in ([self._private(image, asker)] if _host_of(image) in asker.registries else []) + [image]:
            try:
                return engine.images.get(name)
            except docker.errors.ImageNotFound:
                continue
        return None

    def _private(self, image: str, asker: Asker) -> str:
        words = json.dumps([self._secret(), asker.tenant, image])
        return f"{PRIVATE}:{hashlib.sha256(words.encode()).hexdigest()[:32]}"

    def _built(self, engine: Any, image: str, repository: str) -> str:
        """Return the id of an image that this repository has built; anybody else's is as good as none."""
        import docker.errors

        try:
            found = engine.images.get(image)
        except docker.errors.ImageNotFound:
            found = None
        if found is None or (found.labels or {}).get(BUILT) != self.mark_of(repository):
            raise Invalid(
                f"Image {image[:19]}… was not built by this repository, or is not on this host any more. Name an image "
                "of a registry, or restart the run from the step that built it."
            )
        return str(found.id)

    def _pulled(self, engine: Any, image: str, asker: Asker, note: Note) -> Any:
        import docker.errors
        from docker.utils import parse_repository_tag

        host = _host_of(image)
        pair = asker.registries.get(host)
        note(f"Pulling image {image}" + (f" as {pair[0]}" if pair else ""))
        asked = {"auth_config": {"username": pair[0], "password": pair[1], "serveraddress": host}} if pair else {}
        try:
            repository, tag = parse_repository_tag(image)
            for said in progress(engine.api.pull(repository, tag=tag, stream=True, decode=True, **asked)):
                note(f"Pulling image {image}: {said}")
            found = engine.images.get(image)
            note(f"Pulled {next(iter(found.attrs.get('RepoDigests') or ()), found.id)}")
            if pair:
                self._hide(engine, image, found, self._private(image, asker))
        except docker.errors.APIError as error:
            check_space(error)
            raise Invalid(_refused(image, host, pair is not None, str(error.explanation or error))) from error
        return found

    def _hide(self, engine: Any, image: str, found: Any, private: str) -> None:
        """Take the names away by which other tenants, who may not pull it, could ask for an image."""
        found.tag(*private.split(":"))
        found.reload()
        repository = image.partition("@")[0].rpartition(":")[0] if "@" not in image else image.partition("@")[0]
        for name in (*found.tags, *found.attrs.get("RepoDigests", ())):
            if name.startswith((f"{repository}:", f"{repository}@")):
                with contextlib.suppress(_not_found()):
                    engine.images.remove(name)


def _refused(image: str, host: str, named: bool, why: str) -> str:
    command = f"`stepwell registry set {host}`"
    if named:
        return f"Image {image!r} cannot be pulled with the credentials for {host}: {why}. Set others with {command}."
    return (
        f"Image {image!r} is not on this host and cannot be pulled: {why}. Check its name, give credentials with "
        f"{command}, or bring it to this host with `docker pull` or `docker load`."
    )


def _not_found() -> type[Exception]:
    import docker.errors

    return docker.errors.ImageNotFound


def _host_of(image: str) -> str:
    """Return the registry of an image, as credentials name it."""
    from docker.auth import resolve_repository_name
    from docker.utils import parse_repository_tag

    return str(resolve_repository_name(parse_repository_tag(image)[0])[0])


def progress(events: Any, clock: Callable[[], float] = time.monotonic) -> Any:
    """Give now and then how far a pull is, from the engine's events. Raises docker's APIError when it failed."""
    import docker.errors

    layers: dict[str, tuple[int, int]] = {}
    told = clock()
    for event in events:
        if "error" in event:
            raise docker.errors.APIError(str(event["error"]), explanation=str(event["error"]))
        detail = event.get("progressDetail") or {}
        if event.get("status") == "Downloading" and detail.get("total"):
            layers[str(event.get("id"))] = (int(detail.get("current", 0)), int(detail["total"]))
        elif event.get("status") == "Download complete" and event.get("id") in layers:
            layers[event["id"]] = (layers[event["id"]][1],) * 2
        if layers and clock() - told >= _PROGRESS_SECONDS:
            told = clock()
            done, all_ = (sum(pair[at] for pair in layers.values()) for at in (0, 1))
            yield f"{done / 1e6:.0f} of {all_ / 1e6:.0f} MB"


def check_architecture(image: str, its: str, here: str) -> None:
    """Refuse an image for another processor: it would end with words that name no reason. Emulation is fine."""
    if not here or not its or its == here or any(_EMULATORS.glob("qemu-*")):
        return
    raise Invalid(
        f"Image {image!r} is made for {its}, and this host is {here}. Name one for {here}, or bring it here with "
        f"`docker pull --platform linux/{here}`."
    )


def reference_of(image: str) -> str:
    """Return the image's full name. Images are shared by all tenants, but what was set up for one is not for others.

    The engine takes the beginning of an id for a name, so snapshots could be found by trying: a tag rules that out.
    """
    from docker.utils import parse_repository_tag

    repository, tag = parse_repository_tag(image)
    if image.startswith("sha256:") or repository.rpartition("/")[2] in (SNAPSHOTS, BUILDS, PRIVATE):
        raise Invalid(f'image has value {image!r}. Name an image of a registry, like "python:3.12-slim".')
    return image if tag else f"{repository}:latest"
