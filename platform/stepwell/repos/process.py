"""How git is called: an environment built from nothing and settings that no file on the host can change."""

import contextlib
import functools
import os
import re
import resource
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from stepwell.errors import Invalid, Unavailable

_PROTOCOL = re.compile(r"[a-z0-9=:]{1,64}")

_FIRST_TO_GO = 900  # of 1,000

# Pushed trees are checked out later on hosts and in containers of every kind: both protections refuse `git~1`,
# `.git ` and `.git::$INDEX_ALLOCATION`. Objects of a forced-away commit may be read by a fork: nothing is ever
# pruned, and only the service does maintenance. `safe.directory` because the state may belong to another uid.
SETTINGS: Mapping[str, str] = {
    "core.hooksPath": "/dev/null",
    "core.protectHFS": "true",
    "core.protectNTFS": "true",
    "core.fsmonitor": "false",
    "core.fsync": "committed,loose-object",
    "core.fsyncMethod": "batch",
    "gc.auto": "0",
    "gc.pruneExpire": "never",
    "maintenance.auto": "false",
    "pack.threads": "1",
    "protocol.version": "2",
    "protocol.ext.allow": "never",
    "receive.advertisePushOptions": "true",
    "receive.autogc": "false",
    "receive.fsckObjects": "true",
    "receive.hideRefs": "refs/runs",
    "receive.unpackLimit": "100",
    "safe.directory": "*",
    "transfer.fsckObjects": "true",
    "uploadpack.allowFilter": "true",
    "uploadpack.hideRefs": "refs/runs",
}


def environment(
    settings: Mapping[str, str] | None = None, *, protocol: str | None = None, extra: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the whole environment of a git process. `protocol` is a client's header and dropped when odd."""
    result = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": "/nonexistent",
        "LC_ALL": "C.UTF-8",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
    }
    merged = {**SETTINGS, **(settings or {})}
    result["GIT_CONFIG_COUNT"] = str(len(merged))
    for number, (key, value) in enumerate(merged.items()):
        result[f"GIT_CONFIG_KEY_{number}"] = key
        result[f"GIT_CONFIG_VALUE_{number}"] = value
    if protocol is not None and _PROTOCOL.fullmatch(protocol):
        result["GIT_PROTOCOL"] = protocol
    return result | dict(extra or {})


def bound(pid: int, memory_bytes: int, processor_s: int) -> None:
    """Bound a process of ours, and those that it will start; nothing happens when it has ended.

    Memory without files that are only mapped, as packs are. And when the host has none left, it is the first to go.
    """
    asked = ((resource.RLIMIT_DATA, memory_bytes), (resource.RLIMIT_CPU, processor_s), (resource.RLIMIT_CORE, 0))
    with contextlib.suppress(ProcessLookupError):
        for which, wanted in asked:
            allowed = resource.prlimit(pid, which)[1]
            most = wanted if allowed == resource.RLIM_INFINITY else min(wanted, allowed)
            resource.prlimit(pid, which, (most, most))
    with contextlib.suppress(OSError):  # it has ended, or this host has no such thing: then the limits have to do
        Path(f"/proc/{pid}/oom_score_adj").write_text(str(_FIRST_TO_GO))


def run_git(
    repository: Path,
    arguments: Sequence[str],
    *,
    extra: Mapping[str, str] | None = None,
    timeout_s: float = 60,
    accept: Sequence[int] = (0,),
) -> subprocess.CompletedProcess[bytes]:
    """Run git in a repository and wait: blocks, so call it from a thread. Raises Invalid with git's own words."""
    try:
        done = subprocess.run(
            ["git", "--git-dir", str(repository), *arguments],
            env=environment(extra=extra),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
    except FileNotFoundError as error:
        raise Unavailable("Program 'git' was not found on PATH. Install git 2.34 or later.") from error
    if done.returncode not in accept:
        words = done.stderr.decode("utf-8", "replace").strip()[-2000:]
        raise Invalid(f"git {arguments[0]} ended with exit code {done.returncode}: {words or 'no message'}")
    return done


def bounded_git(repository: Path, arguments: Sequence[str], limit: int, *, timeout_s: float = 20) -> tuple[bytes, bool]:
    """Run git for at most `limit` bytes of its output and so many seconds; return them, and whether that was all."""
    return read_bounded(["git", "--git-dir", str(repository), *arguments], limit, environment(), timeout_s=timeout_s)


def read_bounded(
    command: Sequence[str], limit: int, variables: Mapping[str, str], *, timeout_s: float, home: str | None = None,
    memory_bytes: int | None = None, accept: Sequence[int] = (0,),
) -> tuple[bytes, bool]:  # fmt: skip
    """Run a git command for at most `limit` bytes of output and so many seconds; return them, and whether that was all.

    `memory_bytes` bounds its processor time as well. Raises Unavailable without git.
    """
    try:
        process = subprocess.Popen(
            command, cwd=home, env=variables, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise Unavailable("Program 'git' was not found on PATH. Install git 2.34 or later.") from error
    with process:
        if memory_bytes is not None:
            bound(process.pid, memory_bytes, max(1, round(timeout_s)))
        late = threading.Timer(timeout_s, process.kill)
        late.start()
        try:
            assert process.stdout is not None
            data = process.stdout.read(limit + 1)
            if len(data) > limit:
                process.kill()
                return data[:limit], False
            return data, process.wait() in accept
        finally:
            late.cancel()


@functools.cache
def git_version() -> tuple[int, ...]:
    """Return the version of the installed git, for example (2, 39, 5)."""
    try:
        words = subprocess.run(["git", "version"], env=environment(), capture_output=True, check=True).stdout.decode()
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        raise Unavailable("Program 'git' was not found on PATH. Install git 2.34 or later.") from error
    found = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", words)
    return tuple(int(part or 0) for part in found.groups()) if found else (0, 0, 0)
