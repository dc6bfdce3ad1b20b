# ruff: noqa: PTH101, PTH102, S103, S108
"""What a freshly forked isolate does to itself before anybody's code runs in it.

In two parts: `begin`, the same for everybody, makes a blank; `seal`, when its order has come, closes it around one
tenant. Somebody waits for the second part, so whatever can be done before an order is known belongs to the first. The
order of the steps is the design. Mounts, network and the tenant's uid need the zygote's power, so they come first; the
user namespace after setuid, for it counts processes per uid; capabilities after the last thing that needs one; Landlock
when everything is mounted, for it does not see what is mounted later; the death signal after setuid, which clears it.
The allow-list of system calls is inherited from the zygote, with the few calls that both parts need, and what takes
those away is loaded at the very end; the limits that are the same for all are inherited, too (`inherit`). A function
here is a step, and its name appears in the report when the host refuses it.

Rejected: namespaces by `unshare` one after the other (each costs, and a pid namespace needs a second fork), pivot_root
per isolate, bubblewrap (91 ms with an interpreter and asyncio).
"""

import fcntl
import json
import os
import resource
import signal
import socket
import struct
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from stepwell_runners import syscalls as sys_
from stepwell_runners.house import FIRST_TENANT, INSIDE, host_id
from stepwell_runners.spec import FILES, PROXY_PORT, TOOLS, WORKSPACE, Limits

Mode = Literal["house", "root", "user", "none"]
"""Root in a house of many ids; root without a house; an ordinary user; no wall."""

NAMESPACES = sys_.NEWNS | sys_.NEWPID | sys_.NEWNET | sys_.NEWIPC | sys_.NEWUTS | sys_.NEWCGROUP

SOCKET = 3  # an isolate's own, from its first moment on

_TENANT_PROCESSES = 8_192  # all isolates of one uid together
_SPARE_PROCESSES = 16
_QUEUED_SIGNALS = 4_096  # of all isolates of one uid together
NO_CORE = 1  # byte: 0 would still start the program that the host's core_pattern may name, as root of the host
_RLIMIT_SIGPENDING, _RLIMIT_NICE, _RLIMIT_RTPRIO = 11, 13, 14  # the module `resource` does not name them
_SCHEDULE_LAST = b"1000"  # oom_score_adj: the host's own processes are spared
_SAFE = sys_.MS_NOSUID | sys_.MS_NODEV
_SHARED = 64 << 20  # bytes in /dev/shm, at most
_USUAL = Limits()
_READ, _WRITE_FILE, _EVERYTHING = 1 | 4 | 8, 2 | 1 << 14 | 1 << 15, (1 << 16) - 1
_LANDLOCK = (
    ("/", _READ),
    ("/dev", _READ | _WRITE_FILE),
    ("/proc", _READ | _WRITE_FILE),
    *((path, _EVERYTHING) for path in ("/tmp", "/dev/shm", "/run")),
)


@dataclass(frozen=True)
class Plan:
    """What is the same for all isolates of a zygote."""

    mode: Mode
    early: sys_.Filter
    late: sys_.Filter
    landlock: int


@dataclass(frozen=True)
class Order:
    """What a blank is told when it is claimed: numbers and short names; descriptors come along."""

    index: int  # of the tenant
    command: bool
    proxy: bool
    memory: int  # bytes
    cgroup: bool  # whether one bounds the memory of all its processes together
    processes: int
    cpu_seconds: int
    file_size: int
    open_files: int
    tmp: int
    processors: float = 0.0  # 0: all there are; held by the cgroup
    mounts: tuple[str, ...] = ()  # "workspace" or the name of a tool directory
    directory: str = ""  # without the wall only: where to start

    @property
    def descriptors(self) -> int:
        """How many come along: the output of a command, then the mounts."""
        return self.command + len(self.mounts)


_ANY_ORDER = json.dumps(asdict(Order(0, True, True, 0, True, 0, 0, 0, 0, 0, 0.5, ("workspace",))))


@dataclass(frozen=True)
class Begun:
    """What `begin` has made ready for `seal`."""

    proc: int  # the own directory in a writable proc that is attached nowhere
    rules: sys_.Ruleset | None


def inherit(plan: Plan) -> None:
    """Do in the zygote, once, what isolates inherit from it; nothing without the wall."""
    if plan.mode != "none":
        bound_always()
        forbid_calls(plan)


def forbid_calls(plan: Plan) -> None:
    """Load the allow-list of system calls, with those by which isolates are made."""
    sys_.prctl(sys_.PR_SET_NO_NEW_PRIVS, 1)
    plan.early.load()


def begin(plan: Plan) -> Begun | None:
    """Do what is the same for every isolate; None without the wall."""
    os.setsid()
    sys_.prctl(sys_.PR_SET_PDEATHSIG, signal.SIGKILL)
    if plan.mode == "none":
        return None
    sys_.set_hostname(b"isolate")
    raise_loopback()
    proc = mount_proc()
    mount_memory()
    rules = sys_.Ruleset(plan.landlock) if plan.landlock else None
    if rules is not None:
        for path, rights in _LANDLOCK:
            rules.allow(path, rights)
    bound_tenant()
    Order(**json.loads(_ANY_ORDER))  # touched now, the pages of all this are ours when somebody waits
    return Begun(proc, rules)


def seal(plan: Plan, order: Order, begun: Begun | None, output: int | None, mounts: Sequence[int]) -> None:
    """Shut this process in. Afterwards 0, 1, 2 are /dev/null, 3 is the socket, 4 the output; nothing else is open."""
    if begun is not None:
        enclose(plan, order, begun, mounts)
    else:
        bound_always()
        bound_tenant()
        bound_resources(order)
        sys_.prctl(sys_.PR_SET_NO_NEW_PRIVS, 1)
        if order.directory:
            os.chdir(order.directory)
    keep_descriptors([SOCKET] if output is None else [SOCKET, output])
    sys_.prctl(sys_.PR_SET_PDEATHSIG, signal.SIGKILL)  # again: taking another uid has cleared it
    if begun is not None:
        plan.late.load()


def enclose(plan: Plan, order: Order, begun: Begun, mounts: Sequence[int]) -> None:
    """Everything that needs the zygote's power; it ends here."""
    if order.tmp != _USUAL.tmp:
        resize_memory(order.tmp)
    mount_trees(order, mounts)
    if order.proxy:
        offer_proxy()
    bound_resources(order)
    become_tenant(plan.mode, order.index)
    enter_user_namespace(plan.mode, order.index, begun.proc)
    bound_processes(order)
    sys_.drop_capabilities()
    sys_.prctl(sys_.PR_SET_DUMPABLE, 0)  # nobody inside attaches to process 1
    os.chdir(WORKSPACE)
    if begun.rules is not None:
        for path in (WORKSPACE, TOOLS):
            begun.rules.allow(path, _EVERYTHING)
        begun.rules.restrict()


def mount_proc() -> int:
    """Mount the new pid namespace's proc read-only; return this process's directory in a writable one.

    That one is attached nowhere. Its own descriptor is closed here: the kernel takes its mount apart then and waits for
    all processors, which would cost a claim milliseconds. The directory's keeps it usable and costs nothing to close.
    """
    context = sys_.fsopen("proc")
    try:
        sys_.fsconfig_string(context, "hidepid", "invisible")
        writable = sys_.fsmount(context, sys_.ATTR_NOSUID | sys_.ATTR_NODEV | sys_.ATTR_NOEXEC, "proc")
    finally:
        os.close(context)
    shown = sys_.open_tree(b"", writable)
    sys_.mount_setattr(shown, sys_.ATTR_RDONLY)
    sys_.move_mount(shown, b"/proc")
    os.close(shown)
    own = os.open("self", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=writable)
    os.close(writable)
    return own


def mount_memory() -> None:
    """Mount the small writable places that vanish with the isolate."""
    sys_.mount(b"tmpfs", b"/tmp", b"tmpfs", _SAFE, b"mode=1777,nr_inodes=200k,size=%d" % _USUAL.tmp)
    sys_.mount(b"tmpfs", b"/dev/shm", b"tmpfs", _SAFE, b"mode=1777,nr_inodes=10k,size=%d" % _SHARED)
    sys_.mount(b"tmpfs", b"/run", b"tmpfs", _SAFE | sys_.MS_NOEXEC, b"mode=755,nr_inodes=1k,size=16m")
    os.mkdir(FILES, 0o777)
    os.chmod(FILES, 0o777)  # nobody but this tenant will be here


def resize_memory(tmp: int) -> None:
    """Give /tmp another size than the usual one."""
    sys_.mount(b"none", b"/tmp", None, sys_.MS_REMOUNT | _SAFE, b"size=%d" % tmp)
    sys_.mount(b"none", b"/dev/shm", None, sys_.MS_REMOUNT | _SAFE, b"size=%d" % min(tmp, _SHARED))


def mount_trees(order: Order, mounts: Sequence[int]) -> None:
    """Attach the workspace and the tool directories that the mounter made."""
    tools = [name for name in order.mounts if name != "workspace"]
    if tools:
        sys_.mount(b"tmpfs", TOOLS.encode(), b"tmpfs", sys_.MS_NOSUID | sys_.MS_NODEV, b"mode=755,size=64k")
        for name in tools:
            os.mkdir(f"{TOOLS}/{name}")
    for name, tree in zip(order.mounts, mounts, strict=True):
        target = WORKSPACE if name == "workspace" else f"{TOOLS}/{name}"
        sys_.move_mount(tree, target.encode())


def raise_loopback() -> None:
    """Bring up lo: programs expect to talk to themselves."""
    anything = socket.SocketType(socket.AF_INET, socket.SOCK_DGRAM)
    fcntl.ioctl(anything, 0x8914, struct.pack("16sh22x", b"lo", 0x49))  # SIOCSIFFLAGS: UP, LOOPBACK, RUNNING
    anything.close()


def offer_proxy() -> None:
    """Listen where programs look for their proxy and hand the listener out: the runner accepts, this network cannot."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind(("127.0.0.1", PROXY_PORT))
        listener.listen(64)
        rights = struct.pack("i", listener.fileno())
        with socket.socket(fileno=os.dup(SOCKET)) as channel:
            channel.sendmsg([b" "], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])


def bound_always() -> None:
    """Set the limits that are the same for everybody, never above what the host gives."""
    wanted = {
        resource.RLIMIT_CORE: NO_CORE,
        resource.RLIMIT_MEMLOCK: 1 << 20,
        resource.RLIMIT_MSGQUEUE: 0,
        _RLIMIT_SIGPENDING: _QUEUED_SIGNALS,
        _RLIMIT_NICE: 0,
        _RLIMIT_RTPRIO: 0,
    }
    for limit, value in wanted.items():
        _bound(limit, value)


def bound_tenant() -> None:
    """Set how many processes all isolates of a tenant may have together: not the zygote's limit."""
    _bound(resource.RLIMIT_NPROC, _TENANT_PROCESSES)


def bound_resources(order: Order) -> None:
    """Set the limits of the order that are per process, never above what the host gives."""
    _bound(resource.RLIMIT_NOFILE, order.open_files)
    _bound(resource.RLIMIT_FSIZE, order.file_size)
    if not order.cgroup:
        _bound(resource.RLIMIT_DATA, order.memory)
    if order.cpu_seconds:
        _bound(resource.RLIMIT_CPU, order.cpu_seconds)


def become_tenant(mode: Mode, index: int) -> None:
    """Take the tenant's uid. An ordinary user has no other to take."""
    if mode != "user":
        own = host_id(index) if mode == "root" else FIRST_TENANT + index
        os.setgroups([])
        os.setresgid(own, own, own)
        os.setresuid(own, own, own)
        sys_.prctl(sys_.PR_SET_DUMPABLE, 1)  # setuid cleared it, and the map below is written through /proc/self


def enter_user_namespace(mode: Mode, index: int, proc: int) -> None:
    """Enter a user namespace of its own in which the tenant is 1000, and give up the host's view of ids."""
    own = {"user": 0, "root": host_id(index)}.get(mode, FIRST_TENANT + index)
    sys_.unshare(sys_.NEWUSER)
    for name, text in (
        ("setgroups", b"deny"),
        ("uid_map", b"%d %d 1" % (INSIDE, own)),
        ("gid_map", b"%d %d 1" % (INSIDE, own)),
        ("oom_score_adj", _SCHEDULE_LAST),
    ):
        file = os.open(name, os.O_WRONLY | os.O_CLOEXEC, dir_fd=proc)
        try:
            os.write(file, text)
        finally:
            os.close(file)


def bound_processes(order: Order) -> None:
    """Bound processes. Inside the own user namespace the count is this isolate's; before, it is the tenant's.

    A cgroup counts refusals, this limit does not: where there is one, it shall be the one that refuses.
    """
    _bound(resource.RLIMIT_NPROC, order.processes + (_SPARE_PROCESSES if order.cgroup else 0))


def keep_descriptors(kept: Sequence[int]) -> None:
    """Renumber `kept` from SOCKET on and close everything else."""
    safe = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 128) for descriptor in kept]
    for number, descriptor in enumerate(safe, start=SOCKET):
        os.dup2(descriptor, number, inheritable=False)
    sys_.close_from(SOCKET + len(kept))


def _bound(limit: int, value: int) -> None:
    hard = resource.getrlimit(limit)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(limit, (value, value))
