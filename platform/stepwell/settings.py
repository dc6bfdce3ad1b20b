"""Settings of the server, each from `STEPWELL_<NAME>` in the environment.

Every setting appears in the README's table, and a test compares the two.
"""

import os
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


def _default_state() -> Path:
    if os.geteuid() == 0:
        return Path("/var/lib/stepwell")
    home = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(home) / "stepwell"


class Settings(BaseSettings):
    """What an operator may choose. Values are checked at start, before anything is opened."""

    model_config = SettingsConfigDict(env_prefix="STEPWELL_", extra="ignore")

    state: Path = Field(default_factory=_default_state, description="directory for everything kept")
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(7700, ge=1, le=65535, description="port to listen on; the next free one is taken when busy")
    url: str | None = Field(None, description="address that people use, when a proxy stands in front")
    connections_per_address: int = Field(2000, ge=10, le=1_000_000, description=(
        "connections that one address may have open; a network of people behind one router is one, this host is none"
    ))  # fmt: skip
    keep_runs_days: float = Field(90, gt=0, le=36_500, description=(
        "days for which a run is kept after its end; then it goes, with its journal, logs and files"
    ))  # fmt: skip
    keep_runs: int = Field(100, ge=1, description="newest runs of each repository, which are kept however old they are")
    keep_artifacts_days: float | None = Field(None, gt=0, le=36_500, description=(
        "days for which artifacts are kept after their run's end; without it as long as the run; a repository may "
        "ask for fewer"
    ))  # fmt: skip
    trust_all_code: bool = Field(False, description="run code without the wall; only where every author is trusted")
    docker_host: str | None = Field(None, description="Docker engine for container steps; the local socket by default")
    runtime: str | None = Field(None, description="container runtime, for example runsc")
    concurrent_steps: int = Field(8, ge=1, le=1000, description="steps of executors that run at the same time")
    concurrent_turns: int = Field(50, ge=1, le=1000, description="runs whose code is in an isolate at the same time")
    keep_layers_days: float = Field(7, ge=0, le=36_500, description=(
        "days for which the files of an ended run's steps are kept, so that it can be restarted from a step"
    ))  # fmt: skip
    step_output_mb: int = Field(200, ge=1, le=200, description="MiB that one attempt of a step may print")
    step_disk_gb: int = Field(20, ge=1, le=100_000, description="GiB that one attempt may write into its workspace")
    step_memory_gb: int | None = Field(None, ge=1, le=100_000, description=(
        "GiB that a step may ask for with `memory=`; without it as much as it likes"
    ))  # fmt: skip
    tenant_disk_gb: int = Field(60, ge=1, le=100_000, description=(
        "GiB that all attempts of one tenant that are under way may write into their workspaces together"
    ))  # fmt: skip
    git_memory_mb: int = Field(2048, ge=64, le=1_000_000, description=(
        "MiB of memory that git may take for one push or fetch, besides packs that it maps; all of them together half "
        "of the host's"
    ))  # fmt: skip
    artifacts_mb: int = Field(1024, ge=1, le=1_000_000, description="MiB of artifacts that are kept of a step")
    network: Literal["any", "listed", "none"] = Field("any", description=(
        "what steps in isolates may reach: any public host, hosts that they list, or none"
    ))  # fmt: skip
    containers_reach: str = Field("", description=(
        "private networks and addresses that containers with a network may reach, like `10.1.0.0/16`; `any` for all"
    ))  # fmt: skip
    tools_gb: int = Field(20, ge=1, le=100_000, description=(
        "GiB that installed tools and setups may take; then the longest unused go"
    ))  # fmt: skip
    trees_gb: int = Field(50, ge=1, le=100_000, description=(
        "GiB that checked-out trees may take; the longest unused go, but none that is in use"
    ))  # fmt: skip
    caches_gb: int = Field(10, ge=0, le=100_000, description="GiB that the caches of one repository may take")
    blanks: int = Field(4, ge=0, le=64, description="isolates booted ahead, about 6 MB each; 0 boots each when asked")
    most_blanks: int = Field(64, ge=0, le=256, description=(
        "how many are booted ahead at most: for minutes after a burst as many as it asked for, while memory is free"
    ))  # fmt: skip
    warm_containers: int = Field(4, ge=0, le=64, description=(
        "containers started ahead for the images used lately, about 15 MB each; 0 starts each when asked"
    ))  # fmt: skip
    steps_per_tenant: int | None = Field(
        None, ge=1, description="of the places for steps, how many may be one tenant's"
    )
    snapshots_gb: int = Field(
        20,
        ge=0,
        le=100_000,
        description="GiB that snapshots of `setup=` may take together, and images that steps built",
    )
    keep_snapshots_days: float = Field(14, gt=0, le=36_500, description=(
        "days for which a snapshot is kept that no step uses"
    ))  # fmt: skip
    image_builds: bool = Field(True, description="whether `step.image` builds; the engine bounds builds, not Stepwell")
    runs_per_tenant: int | None = Field(None, ge=1, description="runs of one tenant that go on at the same time")
    runs_per_repository: int | None = Field(
        None, ge=1, description="runs of one repository that go on at the same time"
    )

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.state / "stepwell.db"

    @property
    def base_url(self) -> str:
        """Address that people use, without a slash at the end."""
        return (self.url or f"http://{self.host}:{self.port}").rstrip("/")
