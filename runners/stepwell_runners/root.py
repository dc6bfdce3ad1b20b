# ruff: noqa: PTH102, PTH103, PTH106, PTH110, PTH112, PTH114, PTH115, PTH120, PTH211
"""The read-only root that all isolates share: system programs, the interpreter, the authoring side, no host state.

Built once by the zygote in a mount namespace of its own; isolates inherit it by fork, which takes 0.3 ms where making
it anew takes 3.4. Nothing of the host's /home, /root, /var, /run, /sys or /tmp is in it, unless the interpreter lives
there, and then only its prefix.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from stepwell_runners import syscalls as sys_

STEPWELL = "/opt/stepwell"  # where isolates find Stepwell's own part
_EMPTY = ("proc", "tmp", "run", "workspace", "tools", "home", "etc", "var/tmp", "dev/shm")
_SYSTEM = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib64", "/lib32"),
    *("/etc/alternatives", "/etc/ssl/certs", "/etc/pki/tls/certs", "/etc/pki/ca-trust/extracted"),
    *("/etc/java", "/etc/terminfo"),
)
_COPIED = (
    *("/etc/ld.so.cache", "/etc/localtime", "/etc/services", "/etc/protocols", "/etc/mime.types"),
    *("/etc/debian_version", "/etc/os-release"),
)
_DEVICES = ("null", "zero", "full", "random", "urandom")
_FILES = {
    "etc/passwd": "root:x:0:0::/:/bin/sh\nstep:x:1000:1000::/tmp:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n",
    "etc/group": "root:x:0:\nstep:x:1000:\nnogroup:x:65534:\n",
    "etc/hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}


def build(interpreter: str, prefixes: Sequence[str], library: Mapping[str, str], with_proc: bool) -> None:
    """Enter a new root. The caller is in a mount namespace of its own and may mount.

    `library` maps names below STEPWELL to host paths; `with_proc` binds the host's /proc, which a house needs to be
    allowed a proc of its own (each isolate covers it).
    """
    sys_.mount(b"none", b"/", None, sys_.MS_REC | sys_.MS_SLAVE)
    sys_.mount(
        b"tmpfs", b"/sys", b"tmpfs", sys_.MS_NOSUID | sys_.MS_NODEV, b"mode=755,size=8m"
    )  # hides nothing we take
    os.chdir("/sys")
    for path in _EMPTY:
        os.makedirs(path)
    for path in dict.fromkeys((*_SYSTEM, *prefixes)):
        _take(path)
    for path in _COPIED:
        if os.path.exists(path):
            Path(path[1:]).write_bytes(Path(path).read_bytes())
    for name, text in _FILES.items():
        Path(name).write_text(text)
    _take_devices()
    _take_library(interpreter, library)
    if with_proc:
        _attach(sys_.open_tree(b"/proc"), "proc")
    os.mkdir("old")
    sys_.pivot_root(b".", b"old")
    os.chdir("/")
    sys_.unmount(b"/old")
    os.rmdir("/old")
    flags = sys_.MS_REMOUNT | sys_.MS_BIND | sys_.MS_RDONLY | sys_.MS_NOSUID | sys_.MS_NODEV
    sys_.mount(b"none", b"/", None, flags)


def _take(path: str) -> None:
    """Show a host directory read-only at the same path; a link stays a link."""
    if os.path.islink(path):
        os.makedirs(os.path.dirname(path[1:]) or ".", exist_ok=True)
        os.symlink(os.readlink(path), path[1:])
    elif os.path.isdir(path) and not _covered(path):
        os.makedirs(path[1:], exist_ok=True)
        _bind(path, path[1:])


def _covered(path: str) -> bool:
    return path.startswith("/usr/")


def _bind(source: str, target: str) -> None:
    tree = sys_.open_tree(source.encode())
    sys_.mount_setattr(tree, sys_.ATTR_RDONLY | sys_.ATTR_NOSUID | sys_.ATTR_NODEV)
    _attach(tree, target)


def _attach(tree: int, target: str) -> None:
    try:
        sys_.move_mount(tree, target.encode())
    finally:
        os.close(tree)


def _take_devices() -> None:
    for name in _DEVICES:
        Path(f"dev/{name}").touch()
        tree = sys_.open_tree(f"/dev/{name}".encode(), recursive=False)
        sys_.mount_setattr(tree, sys_.ATTR_NOSUID | sys_.ATTR_NOEXEC, recursive=False)
        _attach(tree, f"dev/{name}")
    for name, target in (("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        os.symlink(f"/proc/self/{target}", f"dev/{name}")


def _take_library(interpreter: str, library: Mapping[str, str]) -> None:
    """Bind Stepwell's part, and name the interpreter `python`, which some systems do not."""
    below = STEPWELL[1:]
    os.makedirs(f"{below}/bin")
    for name in ("python", "python3"):
        os.symlink(interpreter, f"{below}/bin/{name}")
    for name, source in library.items():
        target = f"{below}/lib/{name}"
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if os.path.isdir(source):
            os.mkdir(target)
        else:
            Path(target).touch()
        _bind(source, target)
