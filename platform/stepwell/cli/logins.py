"""The servers that this person's command line knows: `~/.config/stepwell/servers.json`, readable by nobody else.

Standard library only: git starts the credential helper at every push, and must not wait for imports.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from stepwell.errors import Invalid


@dataclass(frozen=True)
class Login:
    """A server and the token to use there. `here`: written by `stepwell up` on this machine, for its own user."""

    url: str
    token: str
    here: bool = False


def config_directory() -> Path:
    """Where this person's settings are."""
    home = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(home) / "stepwell"


def origin_of(url: str) -> str:
    """Reduce an address to scheme, host and port. Raises Invalid when it is no http address."""
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Invalid(f"Address {url!r} is not valid. Write something like http://ci.example.com:7700.")
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


class Logins:
    """Reads and writes the file; every change is made whole under a lock, or not at all."""

    def __init__(self, directory: Path | None = None) -> None:
        self.path = (directory or config_directory()) / "servers.json"

    def all(self) -> list[Login]:
        """Every known server, the one to use by default first."""
        content = self._read()
        servers = [Login(url, item["token"], bool(item.get("here"))) for url, item in content["servers"].items()]
        return sorted(servers, key=lambda login: login.url != content.get("default"))

    def find(self, url: str) -> Login | None:
        """The login for an address, whatever its path."""
        origin = origin_of(url)
        return next((login for login in self.all() if login.url == origin), None)

    def put(self, login: Login, *, default: bool) -> None:
        """Remember a server."""
        with self._change() as content:
            content["servers"][login.url] = {"token": login.token, "here": login.here}
            known = content["servers"].get(content.get("default") or "")
            if default or known is None or (login.here and known.get("here")):
                content["default"] = login.url

    def remove(self, url: str) -> None:
        """Forget a server."""
        with self._change() as content:
            content["servers"].pop(url, None)
            if content.get("default") == url:
                content["default"] = next(iter(content["servers"]), None)

    def _read(self) -> dict[str, Any]:
        try:
            content = json.loads(self.path.read_text())
        except FileNotFoundError:
            return {"servers": {}}
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise Invalid(
                f"File {self.path} is not JSON. Remove it and sign in again with `stepwell login`."
            ) from error
        if not isinstance(content, dict) or not isinstance(content.get("servers"), dict):
            raise Invalid(f"File {self.path} has no servers in it. Remove it and sign in again with `stepwell login`.")
        return content

    @contextmanager
    def _change(self) -> Iterator[dict[str, Any]]:
        import fcntl

        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            content = self._read()
            yield content
            fresh = self.path.with_suffix(".new")
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                json.dump(content, file, indent=2)
            fresh.replace(self.path)
        finally:
            os.close(lock)
