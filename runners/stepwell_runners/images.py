"""Images: which ones a step may name, where they are, and how they get here.

Images of registries are shared by all tenants. What was made here is not: a snapshot is never named at all, and an
image that `step.image` has built is named by its id and given only to the repository that built it, see BUILT.
"""

import hashlib
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from stepwell.errors import Invalid
from stepwell_runners.container_process import check_space

SNAPSHOTS = "stepwell-snapshot"
BUILDS = "stepwell-image"
BUILT = "stepwell.built"
"""The label of an image that was built here; says for which repository, see `mark_of`."""
_EMULATORS = Path("/proc/sys/fs/binfmt_misc")  # programs that this kernel gives to another one to run
_ID = re.compile(r"sha256:[0-9a-f]{64}")
_PROGRESS_SECONDS = 5.0

Note = Callable[[str], None]


class Images:
    """The images of one engine. Blocks; called from threads."""

    def __init__(self, connect: Callable[[], Any], host: str, labels: Mapping[str, str]) -> None:
        self._connect = connect
        self._local = host.startswith("unix://")
        self._labels = labels

    def mark_of(self, repository: str) -> str:
        """Return the word by which a repository's images are known."""
        return hashlib.sha256(f"{sorted(self._labels.items())} {repository}".encode()).hexdigest()[:32]

    def known(self, image: str, repository: str) -> str | None:
        """Return the id of an image that is on the engine's host, None when it would have to be pulled."""
        import docker.errors

        try:
            engine = self._connect()
            if _ID.fullmatch(image):
                return self._built(engine, image, repository)
            found: str = engine.images.get(reference_of(image)).id
        except (docker.errors.DockerException, Invalid):
            return None
        return found

    def ready(self, image: str, repository: str, note: Note) -> tuple[Any, str]:
        """Return the engine and the id of an image, pulled when it is missing. Raises Invalid with what is wrong."""
        import docker.errors

        engine = self._connect()
        if _ID.fullmatch(image):
            return engine, self._built(engine, image, repository)
        image = reference_of(image)
        try:
            found = engine.images.get(image)
        except docker.errors.ImageNotFound:
            found = self._pulled(engine, image, note)
        except docker.errors.APIError as error:
            raise Invalid(
                f"image has value {image!r}, which the container engine refuses: {error.explanation}"
            ) from error
        check_architecture(image, found.attrs, engine, local=self._local)
        return engine, found.id

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

    def _pulled(self, engine: Any, image: str, note: Note) -> Any:
        import docker.errors
        from docker.utils import parse_repository_tag

        note(f"Pulling image {image}")
        try:
            repository, tag = parse_repository_tag(image)
            for said in progress(engine.api.pull(repository, tag=tag, stream=True, decode=True)):
                note(f"Pulling image {image}: {said}")
            return engine.images.get(image)
        except docker.errors.APIError as error:
            check_space(error)
            raise Invalid(
                f"Image {image!r} is not on this host and cannot be pulled: {error.explanation or error}. "
                "Check its name, or bring it to this host with `docker pull` or `docker load`."
            ) from error


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


def check_architecture(image: str, about: Mapping[str, Any], engine: Any, *, local: bool) -> None:
    """Refuse an image for another processor: it would end with words that name no reason. Emulation is fine."""
    here, its = engine.version().get("Arch", ""), about.get("Architecture", "")
    if not here or not its or its == here or not local or any(_EMULATORS.glob("qemu-*")):
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
    if image.startswith("sha256:") or repository.rpartition("/")[2] in (SNAPSHOTS, BUILDS):
        raise Invalid(f'image has value {image!r}. Name an image of a registry, like "python:3.12-slim".')
    return image if tag else f"{repository}:latest"
