"""The real git client, as the demo and the measurements use it: with a token, and no configuration of this machine."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from stepwell.errors import Invalid, Unavailable

SECONDS = 120
_NAMES_A_REPOSITORY = frozenset(
    {
        "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_COMMON_DIR", "GIT_CONFIG", "GIT_CONFIG_PARAMETERS", "GIT_DIR",
        "GIT_GRAFT_FILE", "GIT_IMPLICIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_NAMESPACE", "GIT_OBJECT_DIRECTORY",
        "GIT_PREFIX", "GIT_QUARANTINE_PATH", "GIT_REPLACE_REF_BASE", "GIT_SHALLOW_FILE", "GIT_WORK_TREE",
    }
)  # fmt: skip
_HELPER = '!f() { test "$1" = get && echo username=stepwell && echo "password=$STEPWELL_GIT_TOKEN"; }; f'


def own_environment() -> dict[str, str]:
    """Return the variables of this process without those that name a repository.

    A hook of git and `git bisect run` set them, and whatever git is called with them acts there, wherever it stands.
    """
    return {name: value for name, value in os.environ.items() if name not in _NAMES_A_REPOSITORY}


@dataclass(frozen=True)
class GitClient:
    """Runs git against one server. The token travels in the environment, where no other user sees it."""

    url: str
    token: str
    author: str = "Stepwell demo"

    def run(self, folder: Path, *arguments: str, shown: bool = False) -> str:
        """Run git in a folder; what it prints. Raises Invalid with git's words; `shown`: they go to the terminal."""
        try:
            done = subprocess.run(
                ["git", *arguments], cwd=folder, env=self._environment(), timeout=SECONDS, check=False, text=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=None if shown else subprocess.PIPE,
            )  # fmt: skip
        except FileNotFoundError as error:
            raise Unavailable("Program 'git' was not found on PATH. Install git.") from error
        if done.returncode != 0:
            raise Invalid(f"git {arguments[0]} ended with exit code {done.returncode}: {(done.stderr or '').strip()}")
        return done.stdout

    def _environment(self) -> dict[str, str]:
        settings = {
            f"credential.{self.url}.helper": _HELPER,
            "init.defaultBranch": "main",
        }
        who = {f"GIT_{role}_NAME": self.author for role in ("AUTHOR", "COMMITTER")}
        mail = {f"GIT_{role}_EMAIL": "stepwell@localhost" for role in ("AUTHOR", "COMMITTER")}
        counted = {"GIT_CONFIG_COUNT": str(len(settings))}
        for number, (name, value) in enumerate(settings.items()):
            counted |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
        alone = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_TERMINAL_PROMPT": "0"}
        return {**own_environment(), **alone, **who, **mail, **counted, "STEPWELL_GIT_TOKEN": self.token}
