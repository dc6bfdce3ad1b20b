"""Images of this host's own Python, for tests without a registry: one like `python:3-slim`, one with Stepwell in it.

Everything lies where it lies on the host, so that a virtual environment and its programs work as they are.
"""

import ensurepip
import io
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from heavy import add_busybox
from packaging.requirements import Requirement

PIP = "stepwell-test/pip:latest"
"""The name by which `stepwell bench` finds it too."""
_UNUSED = {"test", "idlelib", "tkinter", "lib2to3", "site-packages", "dist-packages", "turtledemo", "ensurepip"}


class Packing:
    """Fills an archive with files of this host, each once."""

    def __init__(self, archive: tarfile.TarFile) -> None:
        self._archive = archive
        self._seen: set[Path] = set()

    def add(self, *paths: Path) -> None:
        """Pack files; with what links lead to."""
        for path in paths:
            place = Path(os.path.normpath(path))
            if place in self._seen or not os.path.lexists(place):
                continue
            self._seen.add(place)
            if place.is_symlink():
                self.add(place.parent / place.readlink())
            self._archive.add(place, str(place)[1:], recursive=False)

    def folder(self, top: Path, unused: frozenset[str] | set[str] = frozenset()) -> None:
        """Pack what is below a folder, without what lies in the unused ones."""
        for place, below, files in os.walk(top):
            below[:] = [name for name in below if name not in unused and not name.startswith("config-")]
            self.add(*(Path(place, name) for name in files))

    def system(self) -> None:
        """Pack busybox as the system's programs, and what finds libraries."""
        busybox = shutil.which("busybox")
        if busybox is None:
            pytest.skip("the image needs busybox (package busybox-static)")
        add_busybox(self._archive, busybox)
        self.add(Path("/sbin/ldconfig").resolve(), Path("/etc/ld.so.cache"))
        if Path("/sbin").is_symlink():
            _link(self._archive, "sbin", "usr/sbin")

    def python(self) -> None:
        """Pack the interpreter with its standard library."""
        self.add(Path(sys.executable).resolve())
        self.folder(Path(sysconfig.get_path("stdlib")), _UNUSED)

    def libraries(self) -> None:
        """Pack the shared libraries of everything packed, under the names by which these are looked for."""
        parts = [str(path) for path in self._seen if _is_binary(path)]
        told = subprocess.run(["ldd", *parts], capture_output=True, text=True, check=False).stdout
        found = {Path(word) for word in re.findall(r"(?:=> |^\s+)(/\S+) \(", told, re.MULTILINE)}
        self.add(*found)


def _is_binary(path: Path) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as reading:
        return reading.read(4) == b"\x7fELF"


def _link(archive: tarfile.TarFile, name: str, target: str) -> None:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, target
    archive.addfile(info)


def pip_image(client: Any) -> str:
    """Return an image with `python3` and pip, made where it is not there yet."""

    def fill(archive: tarfile.TarFile) -> None:
        packing = Packing(archive)
        packing.system()
        packing.python()
        packing.libraries()
        _link(archive, "bin/python3", str(Path(sys.executable).resolve()))
        (wheel,) = Path(ensurepip.__file__).parent.glob("_bundled/pip-*.whl")
        with zipfile.ZipFile(wheel) as packed:
            for name in packed.namelist():
                info = tarfile.TarInfo(f"{str(_packages())[1:]}/{name}")
                content = packed.read(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))

    import docker.errors

    try:
        client.images.get(PIP)
    except docker.errors.ImageNotFound:
        _import(client, PIP, fill)
    return PIP


def _packages() -> Path:
    """Where the interpreter itself, not the tests' environment, looks for packages."""
    program = str(Path(sys.executable).resolve())
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    return Path(subprocess.check_output([program, "-I", "-c", code], text=True).strip())


def stepwell_image(client: Any, name: str, root: Path) -> None:
    """Make an image with this tree's Stepwell, git and a shell: what the Dockerfile makes of a registry's image."""
    venv = Path(sys.prefix)

    def fill(archive: tarfile.TarFile) -> None:
        packing = Packing(archive)
        packing.system()
        packing.python()
        packing.add(*(venv / part for part in ("pyvenv.cfg", "bin/python", "bin/python3", "bin/stepwell")))
        for distribution in needed("stepwell"):
            packing.add(*(Path(str(file.locate())) for file in distribution.files or ()))
        for folder in ("platform", "runners", "web"):
            packing.folder(root / folder)
        packing.folder(Path(subprocess.check_output(["git", "--exec-path"], text=True).strip()))
        packing.add(Path(shutil.which("git") or "/usr/bin/git"))
        packing.add(*Path("/usr/lib").glob("*/libseccomp.so.2"))
        packing.libraries()

    changes = [
        f"ENV PATH={venv}/bin:/usr/bin:/bin", "ENV STEPWELL_HOST=0.0.0.0", "ENV STEPWELL_STATE=/var/lib/stepwell",
        'ENTRYPOINT ["stepwell"]', 'CMD ["up"]',
    ]  # fmt: skip
    _import(client, name, fill, changes)


def needed(name: str, extras: Iterable[str] = (), seen: set[str] | None = None) -> Iterator[metadata.Distribution]:
    """Yield a distribution and all those that it needs to run."""
    seen = set() if seen is None else seen
    if name in seen:
        return
    seen.add(name)
    found = metadata.distribution(name)
    yield found
    for required in map(Requirement, found.requires or ()):
        if required.marker is None or any(required.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield from needed(required.name, required.extras, seen)


def _import(client: Any, name: str, fill: Callable[[tarfile.TarFile], None], changes: list[str] | None = None) -> None:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        fill(archive)
    repository, _, tag = name.partition(":")
    client.api.import_image_from_data(content.getvalue(), repository=repository, tag=tag, changes=changes)
