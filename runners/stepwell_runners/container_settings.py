"""What every container of a command is like: the bounds, the network, and what is taken away."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepwell.errors import Invalid
from stepwell_runners.command_plan import CommandPlan
from stepwell_runners.firewall import name_servers
from stepwell_runners.warm_containers import Kind

DEFAULT_MEMORY = 4 << 30  # bytes
PROCESSES = 4096
_LOG = {"max-size": "1g", "max-file": "2"}  # far more than a step may print
_TAKEN = ("MKNOD", "SETFCAP", "NET_RAW")  # devices, programs with capabilities, and packets in another's name


def kind_of(asked: CommandPlan, tenant: str, image: str) -> Kind:
    """Return what a command's container must be like."""
    if asked.network is not None and asked.network.hosts is not None:
        raise Invalid("network= with a list of hosts is for isolates. A container has all of it or none: True, False.")
    return Kind(tenant, image, asked.network is not None, asked.memory, asked.processes, asked.cpu)


@dataclass(frozen=True)
class ContainerSettings:
    """The settings that an engine is given. `network` is the one of containers that look outside."""

    labels: Mapping[str, str]
    network: str
    runtime: str | None
    state: Path

    def of(self, kind: Kind, argv: tuple[str, ...] | None) -> dict[str, Any]:
        """Return those of a container of this kind that runs a command (None: the image's)."""
        settings: dict[str, Any] = {
            "image": kind.image,
            "labels": dict(self.labels),
            "network_mode": self.network if kind.network else "none",
            "security_opt": ["no-new-privileges"],
            "cap_drop": list(_TAKEN),
            "mem_limit": kind.memory or DEFAULT_MEMORY,
            "memswap_limit": kind.memory or DEFAULT_MEMORY,
            "pids_limit": kind.processes or PROCESSES,
            "log_config": {"Type": "json-file", "Config": _LOG},  # from which a later server reads what this one did
        }
        if argv is not None:
            settings |= {"entrypoint": [argv[0]], "command": list(argv[1:])}
        if kind.cpu:
            settings["nano_cpus"] = int(kind.cpu * 1e9)
        if self.runtime:
            settings["runtime"] = self.runtime
        return settings

    def alone(self, kind: Kind, argv: tuple[str, ...]) -> dict[str, Any]:
        """Return those of one without services. In a kernel of its own it does not reach the engine's resolver."""
        settings = self.of(kind, argv)
        if kind.network and self.runtime and (servers := name_servers()):
            file, text = self.state / "resolv.conf", "".join(f"nameserver {one}\n" for one in servers)
            if not file.exists() or file.read_text() != text:
                fresh = file.with_suffix(f".{secrets.token_hex(4)}")
                fresh.write_text(text)
                fresh.chmod(0o644)
                fresh.rename(file)
            settings["mounts"] = [
                {"Type": "bind", "Source": str(file.resolve()), "Target": "/etc/resolv.conf", "ReadOnly": True}
            ]
        return settings
