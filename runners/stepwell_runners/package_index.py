"""Where this host gets packages from, as pip and npm are configured: at a private address, perhaps, or a mirror."""

import configparser
import importlib
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

_NAMES = ("index-url", "extra-index-url")
_SECTIONS = ("global", "install", "download")


def hosts(environment: Mapping[str, str] | None = None, files: Iterable[Path] | None = None) -> frozenset[str]:
    """host:port of every index: the public one, and those of pip's variables and configuration files."""
    environment = os.environ if environment is None else environment
    files = tuple(_configuration(environment)) if files is None else files
    addresses = [
        *_of_pip(),
        *_of_variables(environment),
        npm_registry(environment),
        *(address for file in files for address in _of_file(file)),
    ]
    return frozenset(name for address in addresses if (name := _host(address)) is not None)


def environment(variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """Variables that tell pip and npm in an isolate of the indexes of this host, but for those with a password."""
    variables = os.environ if variables is None else variables
    found = {
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_INDEX_URL": " ".join(_of_variables(variables, _NAMES[:1])),
        "PIP_EXTRA_INDEX_URL": " ".join(_of_variables(variables, _NAMES[1:])),
        "npm_config_registry": npm_registry(variables),
    }
    return {name: value for name, value in found.items() if value and "@" not in value}


def npm_registry(variables: Mapping[str, str]) -> str:
    """The registry that npm is configured for by variable or in the user's file; empty when it is npm's own."""
    for name, value in variables.items():
        if name.lower() == "npm_config_registry":
            return value
    try:
        lines = (Path(variables.get("HOME", "/nonexistent")) / ".npmrc").read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return ""
    return next((line.partition("=")[2].strip() for line in lines if line.partition("=")[0].strip() == "registry"), "")


def _of_pip() -> Iterator[str]:
    """What pip uses when nothing is configured, as pip itself has it."""
    try:
        public = importlib.import_module("pip._internal.models.index").PyPI
    except (ImportError, AttributeError):
        return  # no pip beside us, or one that has moved it: then only what is configured
    yield public.simple_url
    yield f"https://{public.file_storage_domain}"


def _of_variables(environment: Mapping[str, str], names: Iterable[str] = _NAMES) -> Iterator[str]:
    for name in names:
        yield from environment.get(f"PIP_{name.upper().replace('-', '_')}", "").split()


def _of_file(file: Path) -> Iterator[str]:
    parser = configparser.RawConfigParser()
    try:
        parser.read(file)
    except (configparser.Error, UnicodeDecodeError):
        return  # pip itself will say what is wrong with it
    for section in _SECTIONS:
        for name in _NAMES:
            yield from parser.get(section, name, fallback="").split()


def _configuration(environment: Mapping[str, str]) -> Iterator[Path]:
    home = Path(environment.get("HOME", "/nonexistent"))
    yield Path("/etc/pip.conf")
    for folder in environment.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":"):
        yield Path(folder) / "pip" / "pip.conf"
    yield home / ".pip" / "pip.conf"
    yield Path(environment.get("XDG_CONFIG_HOME", str(home / ".config"))) / "pip" / "pip.conf"
    yield Path(sys.prefix) / "pip.conf"
    if named := environment.get("PIP_CONFIG_FILE"):
        yield Path(named)


def _host(address: str) -> str | None:
    try:
        parts = urlsplit(address)
        port = parts.port or {"https": 443, "http": 80}.get(parts.scheme)
    except ValueError:
        return None
    return f"{parts.hostname}:{port}" if parts.hostname and port and parts.scheme in ("http", "https") else None
