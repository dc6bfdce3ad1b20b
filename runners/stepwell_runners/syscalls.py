"""The system calls that the standard library does not have, by ctypes, and nothing else.

Old calls go through libc's own functions. Numbers from 424 on are the same on every architecture; pivot_root is the
one older call without a wrapper. Failures are OSError with the call's name as filename, so that a message reads
"[Errno 1] Operation not permitted: 'fsmount proc'".
"""

import ctypes
import os
import platform
import struct
from collections.abc import Iterable

NEWUSER, NEWNS, NEWPID, NEWNET = 0x10000000, 0x00020000, 0x20000000, 0x40000000
NEWIPC, NEWUTS, NEWCGROUP = 0x08000000, 0x04000000, 0x02000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE, MS_SLAVE, MS_SHARED = 32, 4096, 16384, 1 << 18, 1 << 19, 1 << 20
MNT_DETACH = 2

ATTR_RDONLY, ATTR_NOSUID, ATTR_NODEV, ATTR_NOEXEC, ATTR_IDMAP = 1, 2, 4, 8, 0x100000

OVERLAY = (("redirect_dir", "nofollow"), ("metacopy", "off"), ("index", "off"))
"""What every overlay is told, or the kernel's configuration would decide: an upper holds whole files, in place."""

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_CAPBSET_DROP = 1, 4, 22, 24
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS, PR_GET_TID_ADDRESS, PR_CAP_AMBIENT = 36, 38, 40, 47

_AT_FDCWD, _AT_EMPTY_PATH, _AT_RECURSIVE = -100, 0x1000, 0x8000
_OPEN_TREE_CLONE, _OPEN_TREE_CLOEXEC = 1, os.O_CLOEXEC
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}.get(platform.machine())
_OPEN_TREE, _MOVE_MOUNT, _FSOPEN, _FSCONFIG, _FSMOUNT = 428, 429, 430, 431, 432
_CLONE3, _CLOSE_RANGE, _MOUNT_SETATTR = 435, 436, 442
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_drop = _libc["prctl"]  # a function object of its own, which converts its arguments without being told how
_drop.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong)


def _check(result: int, name: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)
    return result


def _call(number: int, name: str, *arguments: int | bytes | None) -> int:
    converted = [ctypes.c_long(a) if isinstance(a, int) else ctypes.c_char_p(a) for a in arguments]
    return _check(_libc.syscall(ctypes.c_long(number), *converted), name)


def unshare(flags: int) -> None:
    """Leave the namespaces named by `flags`."""
    _check(_libc.unshare(ctypes.c_int(flags)), f"unshare {flags:#x}")


def mount(source: bytes, target: bytes, kind: bytes | None, flags: int, data: bytes = b"") -> None:
    """mount(2), the old way: tmpfs, propagation and remounts."""
    _check(_libc.mount(source, target, kind, ctypes.c_ulong(flags), data or None), f"mount {target.decode()}")


def unmount(target: bytes) -> None:
    """Detach the mount at `target`, now or when its last user is gone."""
    _check(_libc.umount2(target, ctypes.c_int(MNT_DETACH)), f"umount {target.decode()}")


def pivot_root(new: bytes, old: bytes) -> None:
    """Make `new` the root; the former root appears at `old`."""
    if _PIVOT_ROOT is None:
        raise OSError(38, f"not known on {platform.machine()}", "pivot_root")
    _call(_PIVOT_ROOT, "pivot_root", new, old)


def open_tree(path: bytes, directory: int = _AT_FDCWD, recursive: bool = True) -> int:
    """Clone the mount tree at `path` (the descriptor itself when empty), attached nowhere."""
    flags = (
        _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC | (_AT_RECURSIVE if recursive else 0) | (0 if path else _AT_EMPTY_PATH)
    )
    return _call(_OPEN_TREE, f"open_tree {path.decode()}", directory, path, flags)


def move_mount(tree: int, target: bytes) -> None:
    """Attach a detached mount. The descriptor is spent afterwards."""
    _call(_MOVE_MOUNT, f"move_mount {target.decode()}", tree, b"", _AT_FDCWD, target, 4)


def mount_setattr(tree: int, attributes: int, userns: int = 0, recursive: bool = True) -> None:
    """Add attributes to a mount; ATTR_IDMAP takes the user namespace that holds the mapping."""
    flags = _AT_EMPTY_PATH | (_AT_RECURSIVE if recursive else 0)
    _call(_MOUNT_SETATTR, "mount_setattr", tree, b"", flags, struct.pack("QQQQ", attributes, 0, 0, userns), 32)


def fsopen(kind: str) -> int:
    """Begin a new file system of this kind."""
    return _call(_FSOPEN, f"fsopen {kind}", kind.encode(), 1)


def fsconfig_flag(context: int, key: str) -> None:
    """Set an option without a value."""
    _call(_FSCONFIG, f"fsconfig {key}", context, 0, key.encode(), None, 0)


def fsconfig_string(context: int, key: str, value: str) -> None:
    """Set an option."""
    _call(_FSCONFIG, f"fsconfig {key}", context, 1, key.encode(), value.encode(), 0)


def fsconfig_fd(context: int, key: str, descriptor: int) -> None:
    """Set an option to what a descriptor refers to."""
    _call(_FSCONFIG, f"fsconfig {key}", context, 5, key.encode(), None, descriptor)


def fsmount(context: int, attributes: int, kind: str) -> int:
    """Create the file system and mount it, attached nowhere."""
    _call(_FSCONFIG, f"create {kind}", context, 6, None, None, 0)
    return _call(_FSMOUNT, f"fsmount {kind}", context, 1, attributes)


def timer() -> int:
    """Open a timer of the monotonic clock, which is read when it has gone off; see `set_timer`."""
    return _check(_libc.timerfd_create(ctypes.c_int(1), ctypes.c_int(os.O_CLOEXEC)), "timerfd_create")


def set_timer(descriptor: int, seconds: float) -> None:
    """Let a timer go off once, when `time.monotonic()` is this."""
    value = struct.pack("4l", 0, 0, int(seconds), int(seconds % 1 * 1e9))
    _check(_libc.timerfd_settime(ctypes.c_int(descriptor), ctypes.c_int(1), value, None), "timerfd_settime")


def prctl(option: int, *arguments: int) -> int:
    """prctl(2)."""
    padded = [ctypes.c_ulong(a) for a in (*arguments, 0, 0, 0, 0)[:4]]
    return _check(_libc.prctl(ctypes.c_int(option), *padded), f"prctl {option}")


def close_from(first: int) -> None:
    """Close every descriptor from `first` on."""
    _call(_CLOSE_RANGE, "close_range", first, 0xFFFFFFFF, 0)


def set_hostname(name: bytes) -> None:
    """Name this UTS namespace."""
    _check(_libc.sethostname(name, ctypes.c_size_t(len(name))), "sethostname")


def drop_capabilities() -> None:
    """Empty the bounding, ambient, effective, permitted and inheritable sets."""
    for capability in range(64):  # 41 calls: not through prctl() above, which takes 4 µs
        if _drop(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0:
            if ctypes.get_errno() == 22:  # EINVAL: the kernel has no more of them
                break
            _check(-1, "prctl capability")
    prctl(PR_CAP_AMBIENT, 4)  # PR_CAP_AMBIENT_CLEAR_ALL
    set_capabilities(())


def set_capabilities(kept: Iterable[int]) -> None:
    """Keep only these, effective and permitted."""
    mask = sum(1 << capability for capability in kept)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    header = struct.pack("Ii", 0x20080522, 0)
    _check(_libc.capset(header, struct.pack("6I", low, low, 0, high, high, 0)), "capset")


class Filter:
    """A BPF program, laid out for the kernel."""

    def __init__(self, program: bytes) -> None:
        self._code = ctypes.create_string_buffer(program, len(program))
        place = struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(self._code))
        self._header = ctypes.create_string_buffer(place)

    def load(self) -> None:
        """Install it on this thread, beside those that are there; needs no_new_privs."""
        prctl(PR_SET_SECCOMP, 2, ctypes.addressof(self._header))


def landlock_version() -> int:
    """The kernel's Landlock interface, 0 without."""
    try:
        return _call(_LANDLOCK_CREATE, "landlock", None, 0, 1)
    except OSError:
        return 0


class Ruleset:
    """Landlock's rules for this process; rights that the kernel does not know are masked out.

    From version 6 on also no signal to, and no abstract socket of, anything outside.
    """

    def __init__(self, version: int) -> None:
        self._handled = (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16)) - 1
        size = 8 if version < 4 else 16 if version < 6 else 24
        self._rules = _call(_LANDLOCK_CREATE, "landlock", struct.pack("QQQ", self._handled, 0, 3)[:size], size, 0)

    def allow(self, path: str, rights: int) -> None:
        """Allow this in a directory; what is mounted over it later is another one."""
        target = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            rule = struct.pack("=Qi", rights & self._handled, target)
            _call(_LANDLOCK_ADD, f"landlock {path}", self._rules, 1, rule, 0)
        finally:
            os.close(target)

    def restrict(self) -> None:
        """Restrict this process to what is allowed, for good."""
        _call(_LANDLOCK_RESTRICT, "landlock restrict", self._rules, 0)
        os.close(self._rules)


class _CloneArguments(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_uint64)
        for name in ("flags", "pidfd", "child_tid", "parent_tid", "exit_signal", "stack", "stack_size", "tls")
    ]


def _thread_id_address() -> int:
    """Where libc keeps this thread's id: a raw clone leaves it stale, and raise() and robust locks trust it."""
    address = ctypes.c_ulong(0)
    try:
        prctl(PR_GET_TID_ADDRESS, ctypes.addressof(address))
    except OSError:
        return 0  # a kernel without CHECKPOINT_RESTORE
    return address.value


def fork_into(namespaces: int) -> tuple[int, int]:
    """Fork into new namespaces: (pid, pidfd) for the parent, (0, -1) for the child."""
    pidfd = ctypes.c_int(-1)
    arguments = _CloneArguments(flags=namespaces | 0x1000, exit_signal=17)  # CLONE_PIDFD
    arguments.pidfd = ctypes.addressof(pidfd)
    arguments.child_tid = _thread_id_address()
    if arguments.child_tid:
        arguments.flags |= 0x01000000 | 0x00200000  # CLONE_CHILD_SETTID, CLONE_CHILD_CLEARTID: as fork() does
    ctypes.pythonapi.PyOS_BeforeFork()
    pid = _libc.syscall(ctypes.c_long(_CLONE3), ctypes.byref(arguments), ctypes.c_size_t(64))
    if pid == 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
        return 0, -1
    number = ctypes.get_errno()
    ctypes.pythonapi.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError(number, os.strerror(number), "clone3")
    return int(pid), pidfd.value
