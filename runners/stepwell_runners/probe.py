"""What this host can give, in words: step, errno, and what to change."""

import errno
import os
from collections.abc import Mapping
from pathlib import Path

from stepwell_runners import syscalls as sys_
from stepwell_runners.cgroups import Cgroups
from stepwell_runners.link import Refused
from stepwell_runners.options import IsolateOptions
from stepwell_runners.spare_memory import BLANK_BYTES
from stepwell_runners.spec import Finding
from stepwell_runners.wall import Mode

_MODES = {
    "house": "full, as root, in a user namespace of its own",
    "root": "full, as root, without a user namespace of its own",
    "user": "full, as an ordinary user: all tenants share one uid of the host",
    "none": "none: steps can do whatever the server's user can do",
}


def remedy(refused: Refused) -> str:
    """What the operator can change so that this step is allowed."""
    forbidden = refused.number in (errno.EPERM, errno.EACCES)
    if forbidden and _in_container():
        text = (
            "In Docker: run with --security-opt seccomp=unconfined --security-opt systempaths=unconfined, and as root "
            "also with --cap-add SYS_ADMIN (compose.yaml does)."
        )
    elif refused.number == errno.ENOSPC:
        text = "User namespaces are switched off: sysctl -w user.max_user_namespaces=10000."
    elif forbidden and _flag("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1":
        text = (
            "AppArmor restricts user namespaces: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or be root."
        )
    elif forbidden and _flag("/proc/sys/kernel/unprivileged_userns_clone") == "0":
        text = (
            "User namespaces are for root only: sysctl -w kernel.unprivileged_userns_clone=1, or run Stepwell as root."
        )
    elif refused.number in (errno.ENOSYS, errno.EINVAL):
        text = "The kernel is too old for this step: Linux 5.19 or newer, as an ordinary user 5.12."
    elif forbidden:
        text = "The host forbids this step: run Stepwell as root, or allow unprivileged user namespaces."
    else:
        text = "This is not a known limit of a host: please report it."
    return text


def _in_container() -> bool:
    return Path("/.dockerenv").exists() or "container" in os.environ


def _flag(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def delegation(*, contained: bool) -> str:
    """What the operator can change so that isolates have cgroups."""
    if contained:
        return (
            "In Docker: give the container the host's cgroups, --cgroupns=host --volume /sys/fs/cgroup:/sys/fs/cgroup "
            "(two lines of compose.yaml, which are off until you want them)."
        )
    return "Run as root, or delegate memory and pids to the service (systemd: Delegate=yes)."


def findings(
    mode: Mode | None,
    refusals: Mapping[str, Refused],
    cgroups: Cgroups,
    overlay: Refused | None,
    options: IsolateOptions,
) -> list[Finding]:
    """Everything about the wall that an operator should know."""
    found = [_wall(mode, refusals)]
    if mode in (None, "none"):
        return found
    if mode == "root" and "house" in refusals:
        refused = refusals["house"]
        found.append(Finding("house", False, f"{refused} (errno {refused.number})", remedy(refused)))
    version = sys_.landlock_version()
    detail = f"version {version}" if version else "the kernel has none"
    found.append(Finding("Landlock", version > 0, detail, "" if version else "Linux 5.13 or newer with Landlock on."))
    if cgroups.version:
        found.append(Finding("limits of memory and processes", True, f"cgroups version {cgroups.version}"))
        shared = "cpu" in cgroups.parents
        detail = (
            "each tenant weighs about as one isolate" if shared else "cpu= has no effect on isolates: no cgroup for cpu"
        )
        advice = "" if shared else "Delegate cpu to the service too (systemd: Delegate=yes)."
        found.append(Finding("shares of the processors", shared, detail, advice))
    else:
        text = f"memory is bounded per process only, not per isolate ({cgroups.problem})"
        found.append(Finding("limits of memory and processes", False, text, delegation(contained=_in_container())))
    if overlay is None:
        found.append(Finding("layers of workspaces", True, "overlay"))
    else:
        found.append(Finding("layers of workspaces", False, f"{overlay} (errno {overlay.number})", remedy(overlay)))
    found.append(Finding("blank isolates", True, _ahead(options.blanks, options.most_blanks)))
    return found


def _ahead(blanks: int, most: int) -> str:
    if not blanks:
        return "none is booted ahead (STEPWELL_BLANKS=0)"
    after = f"; after bursts up to {most}, {_megabytes(most)}, while memory is free" if most > blanks else ""
    return f"{blanks} booted ahead, {_megabytes(blanks)}{after}"


def _megabytes(blanks: int) -> str:
    return f"about {blanks * BLANK_BYTES >> 20} MB"


def _wall(mode: Mode | None, refusals: Mapping[str, Refused]) -> Finding:
    if mode == "none":
        return Finding("wall", False, _MODES[mode], "Unset STEPWELL_TRUST_ALL_CODE.")
    if mode is not None:
        return Finding("wall", True, _MODES[mode])
    refused = next(reversed(list(refusals.values())))
    return Finding("wall", False, f"{refused} (errno {refused.number})", remedy(refused))
