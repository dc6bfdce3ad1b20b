"""What an attacker tries from inside an isolate, and the refusals it must meet there.

Each attempt is Python code; a place in braces is filled from `surroundings.py`. What is harmless is also made where no
wall stands, and must get through there, or it would prove nothing: with mounts, a host name and a directory of its own,
so that the host keeps nothing of it. `shown=False` says it is not, and beside it stands why.
"""

from collections.abc import Mapping
from dataclasses import dataclass

PRELUDE = """
import ctypes, errno, fcntl, os, resource, signal, socket, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
def call(number, *arguments):
    words = [ctypes.c_char_p(a) if isinstance(a, bytes) else ctypes.c_long(a) for a in arguments]
    result = libc.syscall(ctypes.c_long(number), *words)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
def mount(source, target, flags, kind=None):
    if libc.mount(source, target, kind, ctypes.c_ulong(flags), None) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
def write(path, text=b"1"):
    with open(path, "wb", buffering=0) as file:
        file.write(text)
"""
_INSIDE = "os.chdir('/tmp')"
_SHELTERED = """
call(272, 0x4020000)
mount(None, b'/', 0x44000)
mount(b'none', b'/mnt', 0, b'tmpfs')
os.chdir('/mnt')
"""


@dataclass(frozen=True)
class Attempt:
    """Code, and the names of the errors of which one must end it behind the wall."""

    code: str
    refused: frozenset[str]
    shown: bool = True  # to get through where no wall stands


def _try(code: str, *refused: str, shown: bool = True) -> Attempt:
    return Attempt(code, frozenset(refused), shown)


_READ_ONLY = ("EROFS", "EACCES", "EPERM")
_HIDDEN = ("ENOENT", "EACCES", "EPERM")
_FALSE = "AssertionError"

ATTEMPTS: dict[str, Attempt] = {
    # files of the host and of other tenants
    "shadow file": _try("open('/etc/shadow').read()", "ENOENT"),
    "database": _try("open({state!r} + '/stepwell.db').read()", "ENOENT"),
    "key of the secrets": _try("open({state!r} + '/key').read()", "ENOENT"),
    "layers of another tenant": _try("os.listdir({theirs!r})", "ENOENT"),
    "home of root": _try("open('/root/.bashrc').read()", "ENOENT", shown=False),  # a host need not have it
    "temporary files of the host": _try("os.stat({secret!r})", "ENOENT"),
    "link out of the workspace": _try("os.symlink({secret!r}, 'l'); open('l').read()", "ENOENT"),
    "up from the root": _try("os.stat('/../../proc/self/root/../..' + {secret!r})", "ENOENT"),
    "up from a descriptor": _try("os.stat('../../..' + {secret!r}, dir_fd=os.open('/', os.O_PATH))", "ENOENT"),
    "container engine's socket": _try(
        "socket.socket(socket.AF_UNIX).connect('/run/docker.sock')", "ENOENT", shown=False
    ),  # a host need not have it
    "cgroup file system": _try("os.listdir('/sys/fs/cgroup')", "ENOENT"),
    "devices in /sys": _try("os.listdir('/sys/block')", "ENOENT"),
    "the interpreter": _try(
        "open(os.path.realpath(sys.executable), 'r+b')", "ETXTBSY", *_READ_ONLY, shown=False
    ),  # runs
    "own program": _try("os.open('/proc/self/exe', os.O_RDWR)", "ETXTBSY", *_READ_ONLY, shown=False),  # it runs
    "system programs": _try("open('/usr/bin/x', 'w')", *_READ_ONLY, shown=False),  # would stay
    "root directory": _try("open('/x', 'w')", *_READ_ONLY, shown=False),  # would stay
    "hard link to a system program": _try(
        "os.link('/usr/bin/su', '/tmp/su')", "EXDEV", "EPERM", shown=False
    ),  # the same
    "file handles": _try(
        "h = struct.pack('Ii', 128, 0) + bytes(128); n = bytes(8); call(303, -100, b'/usr', h, n, 0)\n"
        "call(304, os.open('/usr', os.O_RDONLY), h, 0)",
        "EPERM",
    ),
    # other processes
    "processes of others": _try(
        "assert set(p for p in os.listdir('/proc') if p.isdigit()) - {{'1', str(os.getpid())}}", _FALSE
    ),
    "workspace of another by its process": _try("os.listdir('/proc/{victim}/cwd/')", *_HIDDEN),
    "private files of another step": _try("open('/proc/{victim}/root/run/' 'files/key').read()", *_HIDDEN),
    "variables of another step": _try("open('/proc/{victim}/environ').read()", *_HIDDEN),
    "descriptors of the server": _try("os.listdir('/proc/{pid}/fd')", *_HIDDEN),
    "memory of the zygote": _try("open('/proc/{zygote}/mem', 'rb')", *_HIDDEN),
    "memory of the zygote by a call": _try("call(310, {zygote}, 0, 0, 0, 0, 0)", "EPERM", "ESRCH"),
    "root of the server": _try("os.listdir('/proc/{pid}/root/')", *_HIDDEN),
    "mounts of the server": _try("call(308, os.open('/proc/{pid}/ns/mnt', 0), 0)", *_HIDDEN),
    "signal to the server": _try("os.kill({pid}, 0)", "ESRCH"),
    "signal to the zygote": _try("os.kill({zygote}, 0)", "ESRCH"),
    "signal to everybody": _try("os.kill(-1, 0)", "EPERM", "ESRCH"),
    "signal by descriptor": _try("os.pidfd_open({pid})", "ESRCH"),
    "make everybody wait for a file": _try(
        "open('f', 'w').close(); fcntl.fcntl(os.open('f', 0), fcntl.F_SETLEASE, fcntl.F_WRLCK)", "EPERM"
    ),
    "wait for a file, the upper half set": _try(
        "open('f', 'w').close(); call(72, os.open('f', 0), 1 << 32 | 1024, 1)", "EPERM"
    ),
    "signals of a directory": _try("fcntl.fcntl(os.open('.', 0), fcntl.F_NOTIFY, fcntl.DN_ACCESS)", "EPERM"),
    "priority of the server": _try("os.getpriority(os.PRIO_PROCESS, {pid})", "ESRCH"),
    "limits of the server": _try("resource.prlimit({pid}, resource.RLIMIT_NOFILE)", "ESRCH"),
    "processors of the server": _try("os.sched_getaffinity({pid})", "ESRCH"),
    "trace the zygote": _try(
        "call(101, 0x4206, {zygote}, 0, 0); call(101, 17, {zygote}, 0, 0)", "EPERM", shown=False
    ),  # stops it
    "trace process 1": _try("call(101, 16, 1, 0, 0)", "EPERM", shown=False),  # the host's
    "be traced": _try("call(101, 0, 0, 0, 0)", "EPERM"),
    "compare processes": _try("call(312, os.getpid(), os.getpid(), 1, 0, 0)", "EPERM"),
    "memory of process 1": _try("open('/proc/1/mem', 'rb')", *_HIDDEN, shown=False),  # guarded too
    "environment of process 1": _try("open('/proc/1/environ').read()", *_HIDDEN, shown=False),  # guarded too
    "descriptors of process 1": _try("os.listdir('/proc/1/fd')", *_HIDDEN, shown=False),  # guarded too
    "root of process 1": _try("os.listdir('/proc/1/root/')", *_HIDDEN, shown=False),  # guarded too
    "process_vm_readv of process 1": _try("call(310, 1, 0, 0, 0, 0, 0)", "EPERM", shown=False),  # the same
    "take a descriptor of process 1": _try("call(438, os.pidfd_open(1), 0, 0)", "EPERM", shown=False),  # the same
    "change the own oom score": _try("write('/proc/self/oom_score_adj', b'0')", *_READ_ONLY),
    "run before everybody": _try("os.setpriority(0, 0, os.getpriority(0, 0) - 1)", "EACCES", "EPERM"),
    "run in real time": _try(
        "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))", "EPERM", shown=False
    ),  # holds up
    "lock all memory": _try(
        "resource.setrlimit(resource.RLIMIT_MEMLOCK, (1 << 40, 1 << 40))", "ValueError", "EPERM", shown=False
    ),  # containers lack the power too
    "raise a limit": _try(
        "resource.setrlimit(resource.RLIMIT_NPROC, (10**6, 10**6))", "ValueError", "EPERM", shown=False
    ),  # the same
    "crash into the handler of the host's core_pattern": _try(
        "resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); assert resource.getrlimit(resource.RLIMIT_CORE) != (1, 1)",
        _FALSE,
    ),
    "the same by another call": _try(
        "resource.prlimit(0, resource.RLIMIT_CORE, (0, 0)); assert resource.getrlimit(resource.RLIMIT_CORE) != (1, 1)",
        _FALSE,
    ),
    "exhaust the queue of signals": _try(
        "assert resource.getrlimit(resource.RLIMIT_SIGPENDING)[1] > 4096", _FALSE, shown=False
    ),  # a host may have as few
    # kernel interfaces
    "core pattern": _try("write('/proc/sys/kernel/core_pattern', b'|/x')", *_READ_ONLY, shown=False),  # would stay
    "system controls": _try("write('/proc/sys/kernel/hostname', b'x')", *_READ_ONLY),
    "sysrq": _try("write('/proc/sysrq-trigger', b'h')", "ENOENT", *_READ_ONLY, shown=False),  # would act
    "kernel memory": _try("open('/proc/kcore', 'rb').read(1)", *_HIDDEN),
    "kernel log": _try("call(103, 3, bytes(100), 90)", "EPERM"),
    "kernel log as a file": _try("os.open('/dev/kmsg', os.O_RDONLY)", "ENOENT"),
    "bpf": _try("call(321, 0, struct.pack('4I', 2, 4, 4, 1) + bytes(112), 128)", "EPERM"),
    "performance events": _try("call(298, struct.pack('II', 1, 0) + bytes(120), 0, -1, -1, 0)", "EPERM"),
    "io_uring": _try("call(425, 8, bytes(120))", "ENOSYS"),
    "userfaultfd": _try("call(323, 1)", "ENOSYS"),
    "memory that the kernel cannot see": _try("call(447, 0)", "EPERM"),
    "segments of a processor": _try("call(154, 0, bytes(8), 8)", "EPERM"),
    "watch all files": _try("call(300, 0, 0)", "EPERM"),
    "ports of the machine": _try("call(172, 3)", "EPERM"),
    "memory that runs when written": _try("call(135, 0x0400000)", "EPERM"),
    "add a key": _try("call(248, b'user', b'k', b'v', 1, -2)", "EPERM"),
    "read a keyring": _try("call(250, 0, -4, 1)", "EPERM"),
    "reboot": _try("call(169, 0xfee1dead, 672274793, 0, 0)", "EPERM", shown=False),  # would act
    "swap": _try("call(167, b'/tmp/x', 0)", "EPERM", shown=False),  # needs a swap area
    "clock": _try("import time; time.clock_settime(time.CLOCK_REALTIME, time.time())", "EPERM", shown=False),  # is set
    "modules": _try("call(313, 0, b'', 0)", "EPERM", shown=False),  # needs a module
    "accounting of processes": _try("call(163, 0)", "EPERM", shown=False),  # would switch the host's off
    # namespaces and mounts
    "new user namespace": _try("call(272, 0x10000000)", "EPERM"),
    "new user namespace by clone": _try("call(56, 0x10000000 | 17, 0, 0, 0, 0) or os._exit(9)", "EPERM"),
    "new user namespace by clone3": _try(
        "call(435, struct.pack('8Q', 0x10000000, 0, 0, 0, 17, 0, 0, 0), 64) or os._exit(9)", "ENOSYS"
    ),
    "new mount namespace": _try("call(272, 0x20000)", "EPERM"),
    "new network namespace": _try("call(272, 0x40000000)", "EPERM"),
    "new time namespace": _try("call(272, 0x80)", "EPERM"),
    "join a namespace": _try("call(308, os.open('/proc/self/ns/mnt', 0), 0)", "EPERM"),
    "bind mount": _try("mount(b'/tmp', b'/usr', 4096)", "EPERM"),
    "file system in memory": _try("mount(b'none', b'/usr', 0, b'tmpfs')", "EPERM"),
    "remount writable": _try("mount(None, b'/proc', 32 | 4096)", "EPERM"),
    "unmount proc": _try("call(166, b'/proc', 2)", "EPERM"),
    "clone a mount": _try("call(428, -100, b'/usr', 1)", "EPERM"),
    "open a file system": _try("call(430, b'tmpfs', 0)", "EPERM"),
    "change root": _try("os.chroot('.')", "EPERM"),
    "host name": _try("socket.sethostname('x')", "EPERM"),
    # devices and ids
    "block device": _try("os.mknod('d', 0o060666, os.makedev(254, 0))", "EPERM"),
    "character device": _try("os.mknod('d', 0o020666, os.makedev(1, 1))", "EPERM"),
    "character device in the workspace": _try(
        "os.mknod('/workspace/d', 0o020666, 257)", "EPERM", shown=False
    ),  # none there
    "disks of the host": _try("os.open('/dev/vda', 0)", "ENOENT", shown=False),  # named otherwise elsewhere
    "memory of the host": _try("os.open('/dev/mem', 0)", "ENOENT"),
    "loop devices": _try("os.open('/dev/loop-control', 2)", "ENOENT"),
    "fuse": _try("os.open('/dev/fuse', 2)", "ENOENT"),
    "virtual machines": _try("os.open('/dev/kvm', 2)", "ENOENT"),
    "tunnels": _try("os.open('/dev/net/tun', 2)", "ENOENT"),
    "terminal": _try("os.open('/dev/tty', os.O_RDWR)", "ENOENT", shown=False),  # the tests have none
    "push characters into a terminal": _try("fcntl.ioctl(0, 0x5412, b'x')", "EPERM", shown=False),  # the same
    "the same with the upper half set": _try("call(16, 0, 0x100005412, b'x')", "EPERM", shown=False),  # the same
    "become root": _try("os.setuid(0)", "EINVAL", "EPERM"),
    "become another tenant": _try("os.setuid(200001)", "EINVAL", "EPERM"),
    "join a group": _try("os.setgroups([0])", "EPERM"),
    "give a file to root": _try("open('f', 'w'); os.chown('f', 1, 1)", "EINVAL", "EPERM"),
    "setuid program": _try("assert not os.system('mount --bind /tmp /home 2>/dev/null')", _FALSE),
    "file with capabilities": _try(
        "open('f', 'w'); os.setxattr('f', 'security.capability', struct.pack('<5I', 0x2000001, 1 << 21, 0, 0, 0))",
        "EPERM",
    ),
    "attributes of overlays": _try("open('f', 'w'); os.setxattr('f', 'trusted.overlay.opaque', b'y')", "EPERM"),
    # network
    "loopback service of the host": _try("socket.create_connection(('127.0.0.1', {port}), 2)", "ECONNREFUSED"),
    "the same by the address of all": _try("socket.create_connection(('0.0.0.0', {port}), 2)", "ECONNREFUSED"),
    "abstract socket of the host": _try("socket.socket(socket.AF_UNIX).connect({abstract!r})", "ECONNREFUSED", "EPERM"),
    "the internet": _try("socket.create_connection(('1.1.1.1', 53), 2)", "ENETUNREACH", shown=False),  # if there is one
    "metadata address": _try(
        "socket.create_connection(('169.254.169.254', 80), 2)", "ENETUNREACH", shown=False
    ),  # same
    "metadata address of IPv6": _try(
        "socket.socket(10, 1).connect(('fd00:ec2::254', 80))", "ENETUNREACH", "EADDRNOTAVAIL", shown=False
    ),  # the same
    "the hypervisor": _try("socket.socket(40, 1, 0)", "EPERM"),
    "raw packets": _try("socket.socket(17, 3, 3)", "EPERM"),
    "raw sockets": _try("socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)", "EPERM"),
    "protocols nobody needs": _try("socket.socket(socket.AF_INET, socket.SOCK_STREAM, 132)", "EPERM"),
    "the same in the upper half": _try("call(41, 2, 1, 1 << 32 | 132)", "EPERM"),
    "pairs of other sockets": _try("call(53, 30, 1, 0, bytes(8))", "EPERM"),
    "kernel cryptography": _try("socket.socket(38, 5, 0)", "EPERM"),
    "netfilter": _try("socket.socket(16, 3, 12)", "EPERM"),
    "sockets of others": _try("socket.socket(16, 3, 4)", "EPERM"),
    # what a fork might have left behind, and what is shared
    "descriptors": _try(
        "assert [f for f in os.listdir('/proc/self/fd') if f not in ('0', '1', '2', '3')]", _FALSE, shown=False
    ),  # they are closed on exec there too
    "environment": _try(
        "assert [k for k in os.environ if 'SECRET' in k or 'STEPWELL' in k]", _FALSE, shown=False
    ),  # it is clean there too
    "shared memory": _try("open('/dev/shm/{shared}').read()", "ENOENT"),
    "shared memory of System V": _try("call(29, {key}, 1, 0)", "ENOENT"),
}

PROCESS_1_ITSELF = frozenset(
    name for name in ATTEMPTS if "process 1" in name or name in ("processes of others", "descriptors")
) | {"signal to everybody"}
"""Attempts that are none where the attacker is process 1."""


def attack(attempt: Attempt, around: Mapping[str, object], *, sheltered: bool = False) -> str:
    """A program that makes the attempt and prints `open`, or `refused` and by what.

    `sheltered`: what it does stays with its own process, where no wall stands.
    """
    place = _SHELTERED if sheltered else _INSIDE
    indented = "\n".join(f"    {line}" for line in attempt.code.format(**around).splitlines())
    return f"""{PRELUDE}
{place}
try:
{indented}
    print("open")
except OSError as error:
    print("refused", errno.errorcode.get(error.errno, error))
except Exception as error:
    print("refused", type(error).__name__)
"""
