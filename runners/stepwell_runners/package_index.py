"""Where this host gets Python packages from, as pip is configured: an index may be at a private address or a mirror."""

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
    addresses = [*_of_pip(), *_of_variables(environment), *(address for file in files for address in _of_file(file))]
    return frozenset(name for address in addresses if (name := _host(address)) is not None)


def _of_pip() -> Iterator[str]:
    """What pip uses when nothing is configured, as pip itself has it."""
    try:
        public = importlib.import_module("pip._internal.models.index").PyPI
    except (ImportError, AttributeError):
        return  # no pip beside us, or one that has moved it: then only what is configured
    yield public.simple_url
    yield f"https://{public.file_storage_domain}"


def _of_variables(environment: Mapping[str, str]) -> Iterator[str]:
    for name in _NAMES:
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
