"""The `cache=` option of step.run: what an author may write, and its JSON form."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from stepwell.authoring.globs import glob_pattern

MOST_CACHES, MOST_PATHS, MOST_FALLBACKS = 10, 50, 10
KEY_CHARACTERS = 500
_HASHED = re.compile(r"\{([^{}]*)\}")
_EXAMPLE = 'cache={"key": "pip-{requirements.txt}", "paths": [".cache/pip"], "fallback": ["pip-"]}'


def cache_option(name: str, value: object) -> list[dict[str, Any]]:
    """Check one cache or a list of caches. Raises TypeError, ValueError with what to write instead."""
    given = value if isinstance(value, (list, tuple)) else [value]
    if not given or len(given) > MOST_CACHES:
        raise ValueError(f"{name} has {len(given)} caches. Write between 1 and {MOST_CACHES}.")
    caches = [_cache(name, one) for one in given]
    paths = [path for cache in caches for path in cache["paths"]]
    for path in paths:
        if any(other is not path and (path == other or path.startswith(other + "/")) for other in paths):
            raise ValueError(f"{name} names {path!r} twice, or inside of another path. Name each directory once.")
    return caches


def _cache(name: str, value: object) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not {"key", "paths"} <= set(value):
        raise TypeError(f"{name} has value {value!r}. Write {_EXAMPLE}.")
    if unknown := sorted(set(value) - {"key", "paths", "fallback"}):
        raise TypeError(f"{name} has no field {unknown[0]!r}. Known are: fallback, key, paths.")
    fallback = _texts(f"{name} fallback", value.get("fallback") or [], MOST_FALLBACKS)
    paths = _texts(f"{name} paths", value["paths"], MOST_PATHS)
    if not paths:
        raise ValueError(f"{name} names no paths. Write {_EXAMPLE}.")
    keys = [_key(name, key) for key in (value["key"], *fallback)]
    return {"key": keys[0], "paths": [_path(name, path) for path in paths], "fallback": keys[1:]}


def _texts(name: str, value: object, most: int) -> list[Any]:
    if not isinstance(value, Sequence) or isinstance(value, (str, bytes)) or len(value) > most:
        raise TypeError(f"{name} has value {value!r}. Write a list of at most {most} texts.")
    return list(value)


def _key(name: str, key: object) -> str:
    if not isinstance(key, str) or not 0 < len(key) <= KEY_CHARACTERS or not key.isprintable():
        raise ValueError(f"{name} has key {key!r}. Write a text of at most {KEY_CHARACTERS} characters.")
    for pattern in _HASHED.findall(key):
        if pattern.startswith("/") or ".." in pattern.split("/"):
            raise ValueError(f"{name} has key {key!r}. Name files of the workspace in braces, like {{uv.lock}}.")
        try:
            glob_pattern(pattern)
        except ValueError as error:
            raise ValueError(f"{name} has key {key!r}: {error}") from None
    if "{" in (rest := _HASHED.sub("", key)) or "}" in rest:
        raise ValueError(f"{name} has key {key!r}, in which braces do not match. Write like pip-{{requirements.txt}}.")
    return key


def _path(name: str, path: object) -> str:
    parts = [part for part in path.split("/") if part not in ("", ".")] if isinstance(path, str) else []
    if not isinstance(path, str) or path.startswith(("/", "~")) or ".." in parts or not parts or "\0" in path:
        raise ValueError(
            f"{name} has path {path!r}. Write a directory inside the workspace, and point the tool to it: "
            'env={"PIP_CACHE_DIR": "/workspace/.cache/pip"}.'
        )
    if re.search(r"[*?\[]", path) or parts[0].lower() == ".git":
        raise ValueError(f"{name} has path {path!r}. Write one directory by its name, and none of .git.")
    return "/".join(parts)
