"""The sockets that the server listens on: the port that was asked for, or the next that is free."""

import errno
import socket

from stepwell.errors import Unavailable

TRIES = 100


def listen(host: str, port: int) -> socket.socket:
    """Open a listening socket. Raises Unavailable when the address is not this machine's or no port is free."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for candidate in range(port, min(port + TRIES, 65536)):
        # asyncio sets TCP_NODELAY only where the protocol is named; without it each answer in two writes costs 40 ms
        found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            found.bind((host, candidate))
            found.listen(2048)
        except OSError as error:
            found.close()
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                continue
            raise Unavailable(
                f"Setting STEPWELL_HOST has value {host!r}: {error.strerror}. Write an address of this machine."
            ) from error
        except OverflowError as error:
            found.close()
            raise Unavailable(f"Port {candidate} is not valid. Write a number between 1 and 65535.") from error
        found.setblocking(False)
        return found
    raise Unavailable(f"No port from {port} to {min(port + TRIES, 65536) - 1} is free on {host}. Set STEPWELL_PORT.")


def address_of(listening: socket.socket) -> str:
    """The address that people on this machine use for it."""
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
