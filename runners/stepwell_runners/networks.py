"""Networks of containers: one of an attempt with services, and one that all other containers share, each by itself.

On the shared one a container looks outside and sees none of its neighbours: the engine forwards nothing between them
(`enable_icc`), and without NET_RAW nobody can answer in another's name. It is made when the first container needs it,
and looked for each time: whoever prunes networks may have taken it away.

Bridges are named after the state directory, so that a rule of the host can mean all of ours by the beginning of a name.
"""

import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stepwell.errors import TryLater, Unavailable
from stepwell_runners.command_plan import ServicePlan
from stepwell_runners.container_jobs import removed, volume_of
from stepwell_runners.firewall import Firewall, Opening
from stepwell_runners.spec import WORKSPACE, Overlay
from stepwell_runners.workspaces import Workspace

_OPTION = "com.docker.network.bridge"


@dataclass
class SharedNetwork:
    """The network of all containers without services. Used by any thread."""

    name: str
    bridge: str
    labels: Mapping[str, str]
    firewall: Firewall
    _making: threading.Lock = field(default_factory=threading.Lock)

    def make(self, engine: Any) -> None:
        """Make it where it is not there. Raises Unavailable when the engine cannot keep containers apart."""
        with self._making:
            if not self._found(engine):
                _create(engine, self.name, self.labels, {"enable_icc": "false", "name": self.bridge})
        self.firewall.put_up(self.bridge)

    def remove(self, engine: Any) -> None:
        """Remove it, when nobody is on it any more, and then the firewall."""
        for network in self._found(engine):
            removed(network.remove)
        if not self._found(engine):
            self.firewall.take_down()

    def _found(self, engine: Any) -> list[Any]:
        ours = [f"{name}={value}" for name, value in self.labels.items()]
        found = engine.networks.list(names=[self.name], filters={"label": ours})
        return [network for network in found if network.name == self.name]  # the engine's filter takes a part of a name


@dataclass
class Network:
    """An attempt's own network, in which containers find each other by name. It looks outside if it `reaches_out`."""

    engine: Any
    name: str
    bridge: str
    labels: Mapping[str, str]
    firewall: Firewall
    reaches_out: bool
    _made: Any = None

    def make(self) -> None:
        """Make it. Raises TryLater when the engine has no addresses left."""
        if self.reaches_out:
            self._made = _create(self.engine, self.name, self.labels, {"name": self.bridge})
            self.firewall.put_up(self.bridge)
        else:  # nor the host: the bridge gets no address, by which its ports could be reached
            own = {"name": self.bridge, "inhibit_ipv4": "true"}
            self._made = _create(self.engine, self.name, self.labels, own, internal=True)

    def remove(self) -> None:
        """Remove it, when nobody is on it any more."""
        if self._made is not None:
            removed(self._made.remove)

    def joined(self, settings: dict[str, Any], plan: ServicePlan, workspace: Workspace) -> dict[str, Any]:
        """Return the settings of a service's container on it; one with a command works in the workspace."""
        aliased = self.engine.api.create_endpoint_config(aliases=[plan.name])
        own: dict[str, Any] = {
            "hostname": plan.name,
            "environment": dict(plan.env),
            "network_mode": None,
            "network": self.name,
        }
        own["networking_config"] = {self.name: aliased}
        if plan.argv is not None:
            own["working_dir"] = WORKSPACE
            if isinstance(workspace.mount, Overlay):
                own["volumes"] = {volume_of(workspace): {"bind": WORKSPACE, "mode": "rw,nocopy"}}
        return {**settings, **own}


@dataclass
class Networks:
    """The networks of one state directory. `name` is the directory's, as in the labels."""

    name: str
    labels: Mapping[str, str]
    local: bool  # whether the engine is on this host
    reach: tuple[Opening, ...] | None = ()

    def __post_init__(self) -> None:
        shared, self._own = f"swo{self.name[:12]}", f"sws{self.name[:6]}"
        self.firewall = Firewall(self.name, [(shared, True), (self._own, False)], self.reach, local=self.local)
        self.shared = SharedNetwork(f"stepwell-{self.name}", shared, self.labels, self.firewall)

    def of(self, engine: Any, workspace: Workspace, *, reaches_out: bool) -> Network:
        """Return the network of an attempt that has services."""
        bridge = f"{self._own}{secrets.token_hex(3)}"  # a name of an interface has 15 characters at most
        return Network(engine, f"stepwell-{workspace.id}", bridge, self.labels, self.firewall, reaches_out)

    def recover(self, engine: Any, *, keep_shared: bool) -> None:
        """Remove what a crash left; the shared one stays where a container that goes on is on it."""
        ours = [f"{name}={value}" for name, value in self.labels.items()]
        for network in engine.networks.list(filters={"label": ours}):
            if not (keep_shared and network.name == self.shared.name):
                removed(network.remove)
        if not keep_shared:
            self.firewall.take_down()


def _create(
    engine: Any, name: str, labels: Mapping[str, str], options: Mapping[str, str], *, internal: bool = False
) -> Any:
    import docker.errors

    own = {f"{_OPTION}.{option}": value for option, value in options.items()}
    try:
        return engine.networks.create(
            name, driver="bridge", labels=dict(labels), options=own, internal=internal, check_duplicate=True
        )
    except docker.errors.APIError as error:
        said = str(error.explanation or error)
        if "address pool" in said:
            raise TryLater("The container engine has no addresses left for a network.", 5.0) from error
        if "br_netfilter" in said or "inter-container" in said:
            raise Unavailable(
                f"The container engine cannot keep the containers of a network apart: {said} Load the kernel's module "
                "br_netfilter on its host (modprobe br_netfilter), or ask for network=False."
            ) from error
        raise
