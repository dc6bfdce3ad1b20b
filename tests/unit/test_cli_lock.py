"""One server on one state directory; the next free port."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from stepwell.cli.listening import address_of, listen
from stepwell.cli.lock import StateLock, running_url, tell_address
from stepwell.errors import Conflict, Unavailable


def test_second_server_on_a_state_is_refused_and_told_who_the_first_is(tmp_path: Path) -> None:
    import os

    with StateLock(tmp_path), pytest.raises(Conflict, match=f"pid {os.getpid()}.*STEPWELL_STATE"), StateLock(tmp_path):
        pass


def test_lock_is_free_again_afterwards(tmp_path: Path) -> None:
    with StateLock(tmp_path):
        pass
    with StateLock(tmp_path):
        pass


def test_lock_of_a_killed_server_is_free(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from stepwell.cli.lock import StateLock\n"
        "with StateLock(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    holder.kill()
    holder.wait()
    holder.stdout.close()
    with StateLock(tmp_path):
        pass


def test_address_is_known_while_the_server_runs(tmp_path: Path) -> None:
    assert running_url(tmp_path) is None
    with StateLock(tmp_path):
        assert running_url(tmp_path) is None
        tell_address(tmp_path, "http://127.0.0.1:7700")
        assert running_url(tmp_path) == "http://127.0.0.1:7700"
    assert running_url(tmp_path) is None


def test_busy_port_takes_the_next() -> None:
    with socket.socket() as first:
        first.bind(("127.0.0.1", 0))
        first.listen()
        busy = first.getsockname()[1]
        with listen("127.0.0.1", busy) as second:
            assert second.getsockname()[1] > busy
            assert address_of(second) == f"http://127.0.0.1:{second.getsockname()[1]}"


def test_foreign_address_is_refused() -> None:
    with pytest.raises(Unavailable, match=r"STEPWELL_HOST has value '192\.0\.2\.1'"):
        listen("192.0.2.1", 7700)
