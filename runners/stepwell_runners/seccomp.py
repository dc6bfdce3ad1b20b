"""The allow-list of system calls, as BPF programs that no isolate can put off.

What no other part of the wall stops: io_uring, new user namespaces, AF_VSOCK (a network namespace does not contain
it), netlink other than route, keyrings, userfaultfd, pushing characters into a terminal, leases on files that others
open too. So this part is mandatory.

There are two programs, for loading the long one takes a third of a millisecond. It holds the list, and those calls by
which isolates are made and close themselves around their tenant; the zygote loads it once for itself, and every isolate
inherits it. The short one takes exactly these away again, and is the last thing that happens. What is in neither was
never allowed.

Rejected: a deny-list (every kernel release would open it), and one rule `ioctl != TIOCSTI`: the kernel looks at the
lower 32 bits of the argument, a 64-bit comparison does not, and 0x1_0000_5412 would pass. Hence `_all_but`.
Refused calls answer EPERM; those newer than libseccomp answer ENOSYS, upon which libc falls back to what it knows.
"""

import errno
import tempfile
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

from stepwell.errors import Unavailable

_ALLOWED = """
read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 open openat openat2 creat close close_range
stat fstat lstat newfstatat statx statfs fstatfs access faccessat faccessat2 lseek truncate ftruncate fallocate
getdents getdents64 getcwd chdir fchdir rename renameat renameat2 mkdir mkdirat rmdir link linkat unlink unlinkat
symlink symlinkat readlink readlinkat chmod fchmod fchmodat chown fchown lchown fchownat umask utime utimes utimensat
futimesat flock fsync fdatasync sync_file_range sync readahead fadvise64 copy_file_range sendfile splice tee vmsplice
setxattr lsetxattr fsetxattr getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr removexattr lremovexattr
fremovexattr inotify_init inotify_init1 inotify_add_watch inotify_rm_watch dup dup2 dup3 pipe pipe2
poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2 eventfd eventfd2
signalfd signalfd4 timerfd_create timerfd_settime timerfd_gettime
mmap mprotect munmap mremap madvise msync mincore mlock mlock2 munlock mlockall munlockall brk memfd_create membarrier
get_mempolicy set_mempolicy mbind pkey_alloc pkey_free pkey_mprotect shmget shmat shmctl shmdt semget semop semctl
semtimedop msgget msgsnd msgrcv msgctl mq_open mq_unlink mq_timedsend mq_timedreceive mq_notify mq_getsetattr
rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigtimedwait rt_sigqueueinfo rt_tgsigqueueinfo rt_sigsuspend
sigaltstack kill tkill tgkill pause pidfd_open pidfd_send_signal
fork vfork execve execveat exit exit_group wait4 waitid set_tid_address restart_syscall futex futex_waitv
get_robust_list set_robust_list rseq arch_prctl gettid getpid getppid getpgrp getpgid setpgid getsid setsid
getuid geteuid getgid getegid getresuid getresgid getgroups setuid setgid setreuid setregid setresuid setresgid
setgroups setfsuid setfsgid prctl capget capset getrlimit getrusage sysinfo times uname
getpriority setpriority ioprio_get ioprio_set sched_yield sched_getparam sched_setparam sched_getscheduler
sched_setscheduler sched_get_priority_max sched_get_priority_min sched_rr_get_interval sched_getaffinity
sched_setaffinity sched_getattr sched_setattr getcpu gettimeofday time clock_gettime clock_getres nanosleep
clock_nanosleep getitimer setitimer alarm timer_create timer_settime timer_gettime timer_getoverrun timer_delete
connect accept accept4 sendto recvfrom sendmsg recvmsg sendmmsg recvmmsg shutdown bind listen getsockname getpeername
setsockopt getsockopt getrandom landlock_create_ruleset landlock_add_rule landlock_restrict_self
"""

_UNTIL_SEALED = (
    *("mount", "move_mount", "unshare"),
    *("sethostname", "fsopen", "fsconfig", "fsmount", "open_tree", "mount_setattr"),
)
_FORKING = "clone3"  # the zygote's; its flags are in memory, where no program can look at them
_NOT_THERE = ("io_uring_setup", "io_uring_enter", "io_uring_register", "userfaultfd")
_NEWER = range(451, 480)  # the same numbers on every architecture
_NEW_NAMESPACE = 0x7E020000
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK, _NETLINK_ROUTE = 1, 2, 10, 16, 0
_INTERNET = (0, 1, 6, 17, 58, 262)  # the default, ICMP, TCP, UDP, ICMPv6, MPTCP: others load code into the kernel
_FILE_TYPE, _REGULAR, _FIFO, _SOCKET = 0o170000, 0o100000, 0o010000, 0o140000
_PERSONALITIES = (0, 0xFFFFFFFF, 0x8, 0x40000)  # default, ask, 32-bit uname, no address randomisation
_PR_SET_PDEATHSIG = 1
_F_SETLEASE, _F_NOTIFY = 1024, 1026
_RLIMIT_CORE = 4
_WORD = 0xFFFFFFFF


def _all_but(values: Iterable[int]) -> Iterator[tuple[int, int]]:
    """(mask, value) pairs that together match every 32-bit word except `values`, whatever the upper half holds."""

    def split(bit: int, left: frozenset[int]) -> Iterator[tuple[int, int]]:
        if not left or bit < 0:
            return
        mask = (_WORD >> bit) << bit
        for half in (0, 1 << bit):
            inside = frozenset(v for v in left if v & (1 << bit) == half)
            if inside:
                yield from split(bit - 1, inside)
            else:
                above = next(iter(left)) & (mask & ~(1 << bit))
                yield mask, above | half

    yield from split(31, frozenset(values))


@cache
def programs() -> tuple[bytes, bytes]:
    """The two programs for this architecture, about 3 ms. Raises Unavailable without libseccomp."""
    try:
        import pyseccomp as seccomp  # type: ignore[import-untyped]
    except (ImportError, OSError, RuntimeError) as error:
        raise Unavailable(
            f"libseccomp cannot be loaded ({error}). Install it: Debian and Ubuntu `apt install libseccomp2`, "
            "Fedora `dnf install libseccomp`, Alpine `apk add libseccomp`."
        ) from error
    early = seccomp.SyscallFilter(seccomp.ERRNO(errno.EPERM))
    early.set_attr(seccomp.Attr.CTL_OPTIMIZE, 2)  # a tree: the kernel tries every call number when it is loaded
    _add_list(seccomp, early)
    late = seccomp.SyscallFilter(seccomp.ALLOW)
    for name in _UNTIL_SEALED:
        _add(seccomp, late, seccomp.ERRNO(errno.EPERM), name)
    _add(seccomp, late, seccomp.ERRNO(errno.ENOSYS), _FORKING)
    # Code that runs as pid 1 must not outlive the zygote: clearing the death signal succeeds and does nothing.
    clearing = seccomp.Arg(0, seccomp.MASKED_EQ, _WORD, _PR_SET_PDEATHSIG)
    _add(seccomp, late, seccomp.ERRNO(0), "prctl", clearing)
    return _exported(early), _exported(late)


def _exported(filter: Any) -> bytes:
    with tempfile.TemporaryFile() as file:
        filter.export_bpf(file)
        file.seek(0)
        return bytes(file.read())


def _add_list(seccomp: Any, filter: Any) -> None:
    for name in (*_ALLOWED.split(), *_UNTIL_SEALED, _FORKING):
        _add(seccomp, filter, seccomp.ALLOW, name)
    for name in (*_NOT_THERE, *_NEWER):
        _add(seccomp, filter, seccomp.ERRNO(errno.ENOSYS), name)
    _add_conditional(seccomp, filter)


def _add(seccomp: Any, filter: Any, action: int, name: str | int, *arguments: object) -> None:
    """Add a rule; a name that this architecture does not have needs none."""
    if isinstance(name, str) and seccomp.resolve_syscall(seccomp.Arch.NATIVE, name) < 0:
        return
    filter.add_rule(action, name, *arguments)


def _add_conditional(seccomp: Any, filter: Any) -> None:
    """Calls that are allowed for some arguments."""
    s = seccomp
    allow, arg, equal, masked = s.ALLOW, s.Arg, s.EQ, s.MASKED_EQ
    _add(s, filter, allow, "clone", arg(0, masked, _NEW_NAMESPACE, 0))
    for call, place in (("mknod", 1), ("mknodat", 2)):
        for kind in (0, _REGULAR, _FIFO, _SOCKET):
            _add(s, filter, allow, call, arg(place, masked, _FILE_TYPE, kind))
    for mask, value in _all_but((_TIOCSTI, _TIOCLINUX)):
        _add(s, filter, allow, "ioctl", arg(1, masked, mask, value))
    # A lease on a file that others read too (a tool, a repository's objects) makes everybody's open wait for 45 s.
    for mask, value in _all_but((_F_SETLEASE, _F_NOTIFY)):
        _add(s, filter, allow, "fcntl", arg(1, masked, mask, value))
    # The limit of core files is what keeps crashes from the host's core handler: setting it succeeds, does nothing.
    for call, place in (("setrlimit", 0), ("prlimit64", 1)):
        for mask, value in _all_but((_RLIMIT_CORE,)):
            _add(s, filter, allow, call, arg(place, masked, mask, value))
    _add(s, filter, s.ERRNO(0), "setrlimit", arg(0, masked, _WORD, _RLIMIT_CORE))
    _add(s, filter, allow, "prlimit64", arg(1, masked, _WORD, _RLIMIT_CORE), arg(2, equal, 0))  # it only asks
    _add(s, filter, s.ERRNO(0), "prlimit64", arg(1, masked, _WORD, _RLIMIT_CORE), arg(2, s.NE, 0))
    for call in ("socket", "socketpair"):
        _add(s, filter, allow, call, arg(0, equal, _AF_UNIX))
    for family in (_AF_INET, _AF_INET6):
        for protocol in _INTERNET:
            _add(s, filter, allow, "socket", arg(0, equal, family), arg(2, masked, _WORD, protocol))
    _add(s, filter, allow, "socket", arg(0, equal, _AF_NETLINK), arg(2, equal, _NETLINK_ROUTE))
    for value in _PERSONALITIES:
        _add(s, filter, allow, "personality", arg(0, equal, value))
