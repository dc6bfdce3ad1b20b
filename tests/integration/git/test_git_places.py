"""Places for git's processes: slow clients of one tenant do not keep others out."""

import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import psutil
import pytest
from live import wait_until

from stepwell.repos.pktline import FLUSH, encode
from stepwell.repos.push import NO_COMMIT
from stepwell.repos.wire import WireLimits

OWNER = "Basic c29tZW9uZTpvd25lci10b2tlbg=="
SLOW = (
    "POST /acme/api.git/git-receive-pack HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n"
    f"Authorization: {OWNER}\r\nContent-Type: application/x-git-receive-pack-request\r\n\r\n"
).encode()
SLOW += encode(f"{NO_COMMIT} {'1' * 40} refs/heads/x\0report-status".encode()) + FLUSH


@contextmanager
def slow_pushes(server: Any, count: int) -> Iterator[None]:
    """Have pushes to acme/api that have begun and go no further."""
    children = psutil.Process().children
    with ExitStack() as connections:
        for _ in range(count):
            connection = connections.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            connection.sendall(SLOW)
        wait_until(lambda: len(children()) == count, 20, "git process for each push")
        yield
    wait_until(lambda: not children(), 20, "end of git")


def refused(server: Any, path: str) -> str:
    """Ask for the refs and return the words of the refusal."""
    address = f"http://127.0.0.1:{server.port}/{path}/info/refs?service=git-upload-pack"
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(urllib.request.Request(address, headers={"Authorization": OWNER}), timeout=20)
    with caught.value as answer:
        assert (answer.code, answer.headers["Retry-After"]) == (503, "10")
        return answer.read().decode()


def test_slow_clients_of_a_tenant_leave_places_for_others(make_server: Any, client: Any) -> None:
    server = make_server(WireLimits(processes=3, tenant_processes=2, wait_s=0.2))
    server.repositories.create("repo3")
    with slow_pushes(server, 2):
        assert "busy with other pushes and fetches of acme." in refused(server, "acme/api.git")
        client.commit()
        client.run("push", server.url("globex/site.git"), "main")
    client.run("push", server.url(), "main")


def test_all_places_together_are_bounded(make_server: Any, client: Any) -> None:
    server = make_server(WireLimits(processes=2, tenant_processes=2, wait_s=0.2))
    server.repositories.create("repo3")
    with slow_pushes(server, 2):
        assert "busy with other pushes and fetches." in refused(server, "globex/site.git")
    client.run("ls-remote", server.url("globex/site.git"))
