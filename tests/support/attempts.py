"""What an attacker tries from inside an isolate, and the refusal it must meet.

Each attempt is Python code. Nothing here would harm the host if it got through.
"""

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

ATTEMPTS: dict[str, tuple[str, set[str]]] = {
    # files of the host
    "shadow file": ("open('/etc/shadow').read()", {"ENOENT"}),
    "state directory": ("open({state!r} + '/uids.json').read()", {"ENOENT"}),
    "home of root": ("assert os.listdir('/root') and os.listdir('/root') != ['.pyenv']", {"AssertionError", "ENOENT"}),
    "temporary files of the host": ("os.stat({secret!r})", {"ENOENT"}),
    "container engine's socket": ("socket.socket(socket.AF_UNIX).connect('/run/docker.sock')", {"ENOENT"}),
    "cgroup file system": ("os.listdir('/sys/fs/cgroup')", {"ENOENT"}),
    "the interpreter": ("open(os.path.realpath(sys.executable), 'r+b')", {"EROFS", "EACCES", "ETXTBSY"}),
    "system programs": ("open('/usr/bin/x', 'w')", {"EROFS", "EACCES"}),
    "root directory": ("open('/x', 'w')", {"EROFS", "EACCES"}),
    "own program": ("os.open('/proc/self/exe', os.O_RDWR)", {"EROFS", "ETXTBSY", "EACCES"}),
    "hard link to a system program": ("os.link('/usr/bin/su', '/tmp/su')", {"EXDEV", "EPERM"}),
    "file handles": ("call(304, os.open('/usr', os.O_RDONLY), struct.pack('IiII', 8, 1, 2, 0), 0)", {"EPERM"}),
    # other processes
    "processes of others": (
        "assert set(p for p in os.listdir('/proc') if p.isdigit()) - {{'1', str(os.getpid())}}",
        {"AssertionError"},
    ),
    "signal to the server": ("os.kill({pid}, 0)", {"ESRCH"}),
    "signal to everybody": ("os.kill(-1, 0)", {"EPERM", "ESRCH"}),
    "trace process 1": ("call(101, 16, 1, 0, 0)", {"EPERM"}),
    "memory of process 1": ("open('/proc/1/mem', 'rb')", {"EACCES", "ENOENT", "EPERM"}),
    "environment of process 1": (
        "assert open('/proc/1/environ').read()",
        {"AssertionError", "EACCES", "ENOENT", "EPERM"},
    ),
    "descriptors of process 1": ("os.listdir('/proc/1/fd')", {"EACCES", "ENOENT", "EPERM"}),
    "root of process 1": ("os.listdir('/proc/1/root/')", {"EACCES", "ENOENT", "EPERM"}),
    "process_vm_readv": ("call(310, 1, 0, 0, 0, 0, 0)", {"EPERM"}),
    "take a descriptor of process 1": ("call(438, os.pidfd_open(1), 3, 0)", {"EPERM"}),
    "change the own oom score": ("write('/proc/self/oom_score_adj', b'0')", {"EROFS", "EACCES"}),
    # kernel interfaces
    "core pattern": ("write('/proc/sys/kernel/core_pattern', b'|/x')", {"EROFS", "EACCES", "EPERM"}),
    "sysrq": ("write('/proc/sysrq-trigger', b'h')", {"EROFS", "EACCES", "EPERM", "ENOENT"}),
    "kernel memory": ("open('/proc/kcore', 'rb').read(1)", {"EACCES", "EPERM", "ENOENT"}),
    "kernel log": ("call(103, 3, bytes(100), 90)", {"EPERM"}),
    "bpf": ("call(321, 0, bytes(128), 128)", {"EPERM"}),
    "performance events": ("call(298, bytes(128), 0, -1, -1, 0)", {"EPERM"}),
    "io_uring": ("call(425, 8, bytes(120))", {"ENOSYS"}),
    "userfaultfd": ("call(323, 1)", {"ENOSYS"}),
    "add a key": ("call(248, b'user', b'k', b'v', 1, -4)", {"EPERM"}),
    "read a keyring": ("call(250, 0, -4, 0)", {"EPERM"}),
    "reboot": ("call(169, 0xfee1dead, 672274793, 0, 0)", {"EPERM"}),
    "swap": ("call(167, b'/tmp/x', 0)", {"EPERM"}),
    "clock": ("import time; time.clock_settime(time.CLOCK_REALTIME, time.time())", {"EPERM"}),
    "modules": ("call(313, 0, b'', 0)", {"EPERM"}),
    # namespaces and mounts
    "new user namespace": ("call(272, 0x10000000)", {"EPERM"}),
    "new user namespace by clone": ("call(56, 0x10000000 | 17, 0, 0, 0, 0) or os._exit(9)", {"EPERM"}),
    "new user namespace by clone3": ("call(435, struct.pack('8Q', 0x10000000, 0, 0, 0, 17, 0, 0, 0), 64)", {"ENOSYS"}),
    "join a namespace": ("call(308, os.open('/proc/self/ns/mnt', 0), 0)", {"EPERM"}),
    "bind mount": ("mount(b'/tmp', b'/usr', 4096)", {"EPERM"}),
    "remount writable": ("mount(None, b'/usr', 32 | 4096)", {"EPERM"}),
    "unmount proc": ("call(166, b'/proc', 2)", {"EPERM"}),
    "clone a mount": ("call(428, -100, b'/usr', 1)", {"EPERM"}),
    "open a file system": ("call(430, b'tmpfs', 0)", {"EPERM"}),
    "change root": ("os.chroot('/tmp')", {"EPERM"}),
    "host name": ("socket.sethostname('x')", {"EPERM"}),
    # devices and ids
    "block device": ("os.mknod('/tmp/d', 0o060666, os.makedev(254, 0))", {"EPERM"}),
    "character device": ("os.mknod('/workspace/d', 0o020666, os.makedev(1, 1))", {"EPERM"}),
    "devices of the host": ("os.open('/dev/vda', 0)", {"ENOENT"}),
    "fuse": ("os.open('/dev/fuse', 2)", {"ENOENT"}),
    "become root": ("os.setuid(0)", {"EINVAL", "EPERM"}),
    "join a group": ("os.setgroups([0])", {"EPERM"}),
    "setuid program": ("assert not os.system('mount --bind /tmp /home 2>/dev/null')", {"AssertionError"}),
    "raise a limit": ("resource.setrlimit(resource.RLIMIT_NOFILE, (10**6, 10**6))", {"ValueError", "EPERM"}),
    "push characters into a terminal": ("fcntl.ioctl(0, 0x5412, b'x')", {"EPERM"}),
    "the same with the upper half set": ("call(16, 0, 0x100005412, b'x')", {"EPERM"}),
    "terminal": ("os.open('/dev/tty', os.O_RDWR)", {"ENOENT"}),
    # network
    "loopback service of the host": ("socket.create_connection(('127.0.0.1', {port}), 2)", {"ECONNREFUSED"}),
    "abstract socket of the host": ("socket.socket(socket.AF_UNIX).connect({abstract!r})", {"ECONNREFUSED", "EPERM"}),
    "the internet": ("socket.create_connection(('1.1.1.1', 53), 2)", {"ENETUNREACH"}),
    "metadata address": ("socket.create_connection(('169.254.169.254', 80), 2)", {"ENETUNREACH"}),
    "the hypervisor": ("socket.socket(40, 1, 0)", {"EPERM"}),
    "raw packets": ("socket.socket(17, 3, 3)", {"EPERM"}),
    "raw sockets": ("socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)", {"EPERM"}),
    "kernel cryptography": ("socket.socket(38, 5, 0)", {"EPERM"}),
    "netfilter": ("socket.socket(16, 3, 12)", {"EPERM"}),
    # what a fork might have left behind
    "descriptors": (
        "assert [f for f in os.listdir('/proc/self/fd') if f not in ('0', '1', '2', '3')]",
        {"AssertionError"},
    ),
    "environment": ("assert [k for k in os.environ if 'SECRET' in k or 'STEPWELL' in k]", {"AssertionError"}),
    "shared memory": ("assert os.listdir('/dev/shm')", {"AssertionError"}),
}


def attack(code: str) -> str:
    """A program that makes the attempt and prints `open`, or `refused` and by what."""
    indented = "\n".join(f"    {line}" for line in code.splitlines())
    return f"""{PRELUDE}
try:
{indented}
    print("open")
except OSError as error:
    print("refused", errno.errorcode.get(error.errno, error))
except Exception as error:
    print("refused", type(error).__name__)
"""
