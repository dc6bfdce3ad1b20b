"""The context of an image: what a build may read, as an archive made of the workspace's layers.

The builder is given this archive and no path of the host, so nothing that a stranger put into the workspace – a link to
/etc, say – can lead it elsewhere. Owners and times are the same in every archive: equal files give equal layers, and
the builder's cache holds from run to run.
"""

import io
import os
import posixpath
import re
import stat
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO

from stepwell.authoring.globs import glob_pattern
from stepwell.engine.seams import Attempt, Prepared
from stepwell.errors import Invalid
from stepwell.store.tars import UnlistedTar
from stepwell_runners.command_plan import DEFAULT_TIMEOUT, Asker, asker_of
from stepwell_runners.layers import File, Folder, Link, join
from stepwell_runners.reduce import Stack, open_beneath

MOST_BYTES = 2 << 30
MOST_ENTRIES = 300_000
PACKING_SECONDS = 300.0
_LESS = "Name a smaller directory with context=, or what the build does not need in .dockerignore."
_EPOCH = 315_532_800  # 1980: the earliest time that a zip archive can hold
_ARGUMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")
_TARGET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_TEXT_BYTES = 1 << 20
_MOST_IGNORED = 1_000  # lines of a .dockerignore
_SYNTAX = re.compile(r"[^\w\n]*syntax\s*=\s*(\S*)", re.IGNORECASE)  # of one line: across lines it would take hours
_BRACE = re.compile(
    r"[\ufeff\s]*(?:#![^\n]*\n\s*)?\{"
)  # JSON may name a builder as well, also below a first line of #!
_FRONTEND = re.compile(r"(docker\.io/)?docker/dockerfile(:[\w.-]+)?(@sha256:[0-9a-f]{64})?")


@dataclass(frozen=True)
class ImagePlan:
    """One image to build; `file` is a path in `context`, which is one of the workspace and "" for all of it."""

    asker: Asker  # whose image it is
    context: str
    file: str
    args: Mapping[str, str]
    target: str
    network: bool
    timeout: float  # seconds
    makers: tuple[str, ...] = ("",)  # whose layers it may take, where they can be told apart; its own are the last's


def image_plan(attempt: Attempt, prepared: Prepared) -> ImagePlan:
    """Return what an attempt of step.image asks for. Raises Invalid for what it cannot be given."""
    options = attempt.options
    args = {str(name): str(value) for name, value in (options.get("args") or {}).items()}
    if any(not _ARGUMENT.fullmatch(name) or name.upper().startswith("BUILDKIT_") for name in args):
        raise Invalid("args names what is no argument of a Dockerfile. Write letters, digits and _, no digit first.")
    target = str(options.get("target") or "")
    if target and not _TARGET.fullmatch(target):
        raise Invalid(f"target has value {target[:80]!r}. Write the name of a stage of the Dockerfile.")
    return ImagePlan(
        asker_of(attempt, prepared),
        _tidy("context", options.get("context") or "."),
        _tidy("file", options.get("file") or "Dockerfile"),
        args,
        target,
        bool(options.get("network", True)),
        float(options.get("timeout") or DEFAULT_TIMEOUT),
        prepared.setups,
    )


def _tidy(option: str, path: str) -> str:
    tidy = posixpath.normpath(path)
    if tidy.startswith(("/", "../")) or tidy == ".." or "\0" in tidy:
        raise Invalid(f"{option} has value {path[:80]!r}, outside of the workspace. Write a path inside it.")
    return "" if tidy == "." else tidy


def pack(asked: ImagePlan, stack: Stack, target: IO[bytes]) -> None:
    """Write the context to `target`. Raises Invalid for what is not there, is too much, or names its own builder."""
    if asked.context and not isinstance(stack.node(asked.context), Folder):
        raise Invalid(f"context has value {asked.context!r}, which is no directory of the workspace.")
    check_syntax(asked.file, dockerfile(asked, stack))
    ignored = _ignored(asked, stack)
    room = MOST_BYTES
    with UnlistedTar.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for count, (path, name) in enumerate(_named(asked, stack, ignored), 1):
            room -= _add(archive, stack, path, name)
            if room < 0 or count > MOST_ENTRIES:
                more = f"{MOST_BYTES >> 30} GiB" if room < 0 else f"{MOST_ENTRIES:,} files and directories"
                raise Invalid(f"The context has more than {more}. {_LESS}")


def _named(asked: ImagePlan, stack: Stack, ignored: "Ignored") -> Iterator[tuple[str, str]]:
    """Yield the path of what the context has in the workspace, and its name there; a directory before its contents."""
    waiting, until = [asked.context], time.monotonic() + PACKING_SECONDS
    while waiting:
        if time.monotonic() > until:
            raise Invalid(f"Reading the context took longer than {PACKING_SECONDS:.0f} s. {_LESS}")
        path = waiting.pop()
        name = path[len(asked.context) :].lstrip("/")
        taken = bool(name) and (name == asked.file or not ignored(name))
        if taken:
            yield path, name
        goes_in = taken or not name or ignored.has_exceptions or asked.file.startswith(f"{name}/")
        if goes_in and isinstance(stack.node(path), Folder):
            waiting += [join(path, one) for one in stack.names(path)]


def dockerfile(asked: ImagePlan, stack: Stack) -> str:
    """Return the text of the Dockerfile. Raises Invalid when it is none."""
    return _text(stack, join(asked.context, asked.file), "file", asked.file)


def check_syntax(name: str, text: str) -> None:
    """Refuse a Dockerfile that brings a builder of its own: that one could read other repositories' caches."""
    if _BRACE.match(text):
        raise Invalid(f"{name!r} begins with a brace, so it is no Dockerfile.")
    for found in filter(None, map(_SYNTAX.match, text.split("\n"))):
        if not _FRONTEND.fullmatch(found[1]):
            raise Invalid(
                f"{name!r} asks for the syntax {found[1][:80]!r}. Only docker/dockerfile is allowed, or no such line."
            )


def _add(archive: tarfile.TarFile, stack: Stack, path: str, name: str) -> int:
    """Add what stands at `path`; the bytes that it takes."""
    node = stack.node(path)
    info = tarfile.TarInfo(name)
    info.mtime = _EPOCH
    if isinstance(node, Folder):
        info.type, info.mode = tarfile.DIRTYPE, node.mode & 0o777
        archive.addfile(info)
    elif isinstance(node, Link):
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, node.target, 0o777
        archive.addfile(info)
    elif isinstance(node, File):
        with _opened(stack, path) as content:
            info.size, info.mode = os.fstat(content.fileno()).st_size, node.mode & 0o777
            if info.size <= MOST_BYTES:
                archive.addfile(info, content)
    return info.size + tarfile.BLOCKSIZE


def _opened(stack: Stack, path: str) -> io.BufferedReader:
    place = stack.place(path)
    assert place is not None
    root = next(lower for lower in stack.lowers if place.is_relative_to(lower))
    descriptor = open_beneath(root, str(place.relative_to(root)))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Invalid(f"{path!r} is not a regular file any more.")
    return os.fdopen(descriptor, "rb")


def _text(stack: Stack, path: str, option: str, value: str) -> str:
    if not isinstance(stack.node(path), File):
        raise Invalid(f"{option} has value {value!r}, which is no file of the context. Write its path in context=.")
    with _opened(stack, path) as content:
        text = content.read(_TEXT_BYTES + 1)
    if len(text) > _TEXT_BYTES:
        raise Invalid(f"{value!r} has more than {_TEXT_BYTES >> 20} MiB.")
    return text.decode(errors="replace")


@dataclass(frozen=True)
class Ignored:
    """Which names a .dockerignore leaves out. Without exceptions, nothing below one that it leaves out is taken."""

    says: Callable[[str], bool] = lambda name: False
    has_exceptions: bool = False

    def __call__(self, name: str) -> bool:
        return self.says(name)


def _ignored(asked: ImagePlan, stack: Stack) -> Ignored:
    """Return which names .dockerignore leaves out; one for this Dockerfile alone goes first, as with `docker build`."""
    for name in (f"{asked.file}.dockerignore", ".dockerignore"):
        path = join(asked.context, name)
        if isinstance(stack.node(path), File):
            return ignored_by(name, _text(stack, path, "file", name))
    return Ignored()


def ignored_by(file: str, text: str) -> Ignored:
    """Return which names the lines of a .dockerignore leave out. Raises Invalid.

    The package's own matcher makes regular expressions of them, which on a stranger's names would not come to an end.
    """
    from docker.utils.build import Pattern

    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    if len(lines) > _MOST_IGNORED:
        raise Invalid(f"{file!r} has {len(lines):,} lines; at most {_MOST_IGNORED:,}. Put less into the context.")
    patterns = [one for one in map(Pattern, [*lines, "!.dockerignore"]) if one.dirs]
    try:
        globs = [(one.exclusion, len(one.dirs), glob_pattern(one.cleaned_pattern)) for one in patterns]
    except ValueError as error:
        raise Invalid(f"{file!r}: {error}") from error

    def is_ignored(name: str) -> bool:
        above, ignored = name.split("/")[:-1], False
        for keeps, depth, glob in globs:
            if glob.fullmatch(name) or (depth <= len(above) and glob.fullmatch("/".join(above[:depth]))):
                ignored = not keeps
        return ignored

    return Ignored(is_ignored, any(line.startswith("!") for line in lines))
