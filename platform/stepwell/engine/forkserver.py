"""A small process that has everything imported and forks isolates without a wall; see local.py.

Run as `python -s -P -m stepwell.engine.forkserver FD`, FD being a SOCK_SEQPACKET socket.
Asked: b"fork" with one descriptor, b"kill PID". Answered: b"pid PID" in the order of the forks, b"exit PID STATUS".
It ends with its socket, and its children end with theirs.
"""

import contextlib
import gc
import os
import select
import signal
import socket
import sys

from stepwell.authoring.isolate import serve


def main(server: socket.socket) -> None:
    """Fork until the socket closes."""
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake_write)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C belongs to the parent, which closes the socket
    children: set[int] = set()
    gc.freeze()
    while True:
        ready, _, _ = select.select([server.fileno(), wake_read], [], [])
        if wake_read in ready:
            os.read(wake_read, 4096)
            _reap(server, children)
        if server.fileno() in ready and not _obey(server, children, (wake_read, wake_write)):
            return


def _obey(server: socket.socket, children: set[int], pipes: tuple[int, int]) -> bool:
    message, descriptors, _, _ = socket.recv_fds(server, 64, 1)
    if not message:
        return False
    word, _, rest = message.partition(b" ")
    if word == b"fork":
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for pipe in pipes:
                os.close(pipe)
            server.close()
            serve(socket.socket(fileno=descriptors[0]))
        children.add(pid)
        os.close(descriptors[0])
        server.send(b"pid %d" % pid)
    elif word == b"kill" and int(rest) in children:
        os.kill(int(rest), signal.SIGKILL)
    return True


def _reap(server: socket.socket, children: set[int]) -> None:
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        children.discard(pid)
        server.send(b"exit %d %d" % (pid, status))


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # killed hosts are nothing to complain about
        main(socket.socket(fileno=int(sys.argv[1])))
