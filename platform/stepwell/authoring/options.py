"""The settings of `step.run`, `step.image` and `step.approval`: what an author may write, and what the host receives.

Every option is checked when the step is called, so a mistake names the author's line. An option that this version does
not execute is refused: a pipeline that asks for a database service and silently gets none is worse than none at all.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stepwell.authoring.caches import cache_option
from stepwell.authoring.durations import seconds_of
from stepwell.authoring.failures import NotExecuted
from stepwell.authoring.globs import written_glob
from stepwell.authoring.retries import retry_of

OPTION_BYTES = 262_144
"""Of a step's settings in ASCII, as the host takes them."""
MOST_PATTERNS = 100


MOST_SERVICES = 10


@dataclass(frozen=True)
class SecretFile:
    """A secret given as the path of a private file instead of a variable's text."""

    name: str


@dataclass(frozen=True)
class Service:
    """A container beside a step; made by `service()`, which checks it."""

    image: str = ""
    command: str | list[str] | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    ready: str | None = None

    def as_json(self) -> dict[str, Any]:
        """What the host receives: only what was said."""
        said = {"image": self.image, "command": self.command, "env": dict(self.env), "ready": self.ready}
        return {name: value for name, value in said.items() if value}


def file(name: str) -> SecretFile:
    """Give a secret as a file: `secrets={"KUBECONFIG": file("KUBE")}` sets the variable to a path."""
    return SecretFile(_text("file", name))


def service(
    image: str = "",
    *,
    command: str | Sequence[str] | None = None,
    env: Mapping[str, object] | None = None,
    ready: str | None = None,
) -> Service:
    """Describe a container that runs beside a step, under the name it is given in `services=`.

    With `image` alone it runs what the image is made for; `command` runs a program from the workspace, in the step's
    own image when none is named. `ready` is a command that succeeds in it as soon as it can be used.
    """
    if not image and command is None:
        raise ValueError('service() says nothing to run. Write service("postgres:16") or service(command="…").')
    return Service(
        _text("service image", image) if image else "",
        None if command is None else _command(command),
        _env("service env", env or {}),
        None if ready is None else _text("service ready", ready),
    )


def run_options(command: object, given: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Check a command with its options and give their JSON form; `defaults` are the pipeline's."""
    options: dict[str, Any] = {"command": _command(command)}
    for name, value in {**defaults, **given}.items():
        if value is not None:
            options[name] = _checked("step.run", name, value, _RUN)
    for other in ("secrets", "environment"):
        if options.get("reuse") and options.get(other):
            raise ValueError(f"reuse and {other} exclude each other: a step that is given access has to run. Drop one.")
    if "setup_inputs" in options and "setup" not in options:
        raise ValueError('setup_inputs needs setup: write setup="pip install -r requirements.txt" beside it.')
    if options.get("services") and "image" not in options:
        raise ValueError("services needs image: a step in an isolate reaches no container. Name the step's image.")
    return options


def image_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Check the settings of an image to build and give their JSON form."""
    options = {name: _checked("step.image", name, value, _IMAGE) for name, value in given.items() if value is not None}
    for name in options.get("args", {}):
        if name.upper().startswith("BUILDKIT_"):
            raise ValueError(f"args names {name!r}, which is the builder's own. Leave it out.")
    return options


def check_defaults(defaults: object) -> dict[str, Any]:
    """Check a pipeline's `defaults`, which apply to every step.run, and give their JSON form."""
    if not isinstance(defaults, Mapping):
        raise TypeError(f'defaults has value {defaults!r}. Write step.run options: {{"timeout": "20 minutes"}}.')
    return {name: _checked("defaults", name, value, _RUN) for name, value in defaults.items()}


def approval_options(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Check the settings of an approval and give their JSON form."""
    options: dict[str, Any] = {"message": name}
    for option, value in given.items():
        if value is not None:
            options[option] = _checked("step.approval", option, value, _APPROVAL)
    return options


def _checked(call: str, name: str, value: object, known: Mapping[str, Callable[[str, Any], Any]]) -> Any:
    if name in known:
        return known[name](name, value)
    if name in _UNEXECUTED:
        raise NotExecuted(f"{call} option {name!r} is not executed by this version of Stepwell. {_UNEXECUTED[name]}")
    raise TypeError(f"{call} has no option {name!r}. Known are: {', '.join(sorted(known))}.")


_UNEXECUTED = {
    "labels": "Leave it out; there is one runner.",
    "tags": "A tag would be everybody's on the engine's host: later steps take image= with what step.image returned.",
    "push": "Later steps take image= with what step.image returned.",
    "undo": "Give undo= to a step.do, or catch StepFailed in run() and call the undoing step there.",
}


def _command(value: object) -> str | list[str]:
    if isinstance(value, str) and value.strip() and "\0" not in value:
        return value
    if isinstance(value, (list, tuple)) and value and all(isinstance(part, str) and "\0" not in part for part in value):
        return list(value)
    raise TypeError(f'command has value {value!r}. Write a shell command like "pytest -q", or a list of arguments.')


def _text(name: str, value: object) -> str:
    if isinstance(value, str) and value.strip() and "\0" not in value:
        return value
    raise TypeError(f"{name} has value {value!r}. Write a text that is not empty.")


def _texts(name: str, value: object) -> list[str]:
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return [_text(name, item) for item in value]
    raise TypeError(f"{name} has value {value!r}. Write a list of texts.")


def _flag(name: str, value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise TypeError(f"{name} has value {value!r}. Write True or False.")


def _variable(name: str, variable: object) -> str:
    if isinstance(variable, str) and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", variable):
        return variable
    raise ValueError(f"{name} names the variable {variable!r}. Write letters, digits and _, no digit first.")


def _env(name: str, value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise TypeError(f'{name} has value {value!r}. Write a dict of texts: {{"NAME": "value"}}.')
    out = {}
    for variable, text in value.items():
        if not isinstance(text, (str, int, float)) or isinstance(text, bool) or "\0" in str(text):
            raise TypeError(f"{name} gives {variable!r} the value {text!r}. Write a text or a number.")
        out[_variable(name, variable)] = str(text)
    return out


def _secrets(name: str, value: object) -> list[str] | dict[str, Any]:
    if isinstance(value, Mapping):
        return {_variable(name, variable): _secret(name, secret) for variable, secret in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return [_variable(name, item) for item in value]
    raise TypeError(f'{name} has value {value!r}. Write a list like ["DEPLOY_KEY"], or {{"VARIABLE": "SECRET"}}.')


def _secret(name: str, secret: object) -> Any:
    return {"file": secret.name} if isinstance(secret, SecretFile) else _text(name, secret)


def _network(name: str, value: object) -> bool | list[str]:
    if isinstance(value, bool):
        return value
    for host in (hosts := _texts(name, value)):
        if "/" in host or " " in host:
            raise ValueError(
                f'{name} names {host!r}. Write hosts: "example.org", "*.example.org" or "example.org:8443".'
            )
    return hosts


def _relative(name: str, value: object) -> str:
    path = _text(name, value)
    if path.startswith("/") or ".." in path.split("/"):
        raise ValueError(f'{name} has value {value!r}. Write a path inside the workspace, like "services/api".')
    return path


def _paths(name: str, value: object) -> list[str]:
    return [_relative(name, path) for path in _texts(name, value)]


def _patterns(name: str, value: object) -> list[str]:
    patterns = _paths(name, value)
    if len(patterns) > MOST_PATTERNS:
        raise ValueError(f"{name} has {len(patterns)} patterns. Write at most {MOST_PATTERNS}.")
    for pattern in patterns:
        try:
            written_glob(pattern)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return patterns


def _reuse(name: str, value: object) -> list[str]:
    patterns = _patterns(name, value)
    if not patterns:
        raise ValueError(f'{name} has value {value!r}. Name all files that the step depends on, like ["src/**"].')
    return patterns


def timeout_option(name: str, value: object) -> float:
    """Give the seconds within which something has to end. Raises TypeError and ValueError."""
    seconds = seconds_of(value, name)
    if seconds == 0:
        raise ValueError(f'{name} has value {value!r}. Write a time above 0, like "15 minutes", or leave it out.')
    return seconds


def _retries(name: str, value: object) -> dict[str, Any]:
    return retry_of(value).as_json()


def _services(name: str, value: object) -> dict[str, Any]:
    if not isinstance(value, Mapping) or len(value) > MOST_SERVICES:
        raise TypeError(
            f'{name} has value {value!r}. Write a dict of at most {MOST_SERVICES}: {{"db": service("postgres:16")}}.'
        )
    return {_host(name, host): _service(name, host, one) for host, one in value.items()}


def _host(name: str, host: object) -> str:
    if isinstance(host, str) and re.fullmatch(r"[a-z][a-z0-9-]{0,62}", host) and host != "localhost":
        return host
    raise ValueError(f"{name} names the host {host!r}. Write lower-case letters, digits and -, a letter first.")


def _service(name: str, host: str, one: object) -> dict[str, Any]:
    if isinstance(one, Service):
        return one.as_json()
    raise TypeError(f'{name} gives {host!r} the value {one!r}. Write service("postgres:16", ready="pg_isready").')


def _cpu(name: str, value: object) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= 1024:
        return float(value)
    raise ValueError(f"{name} has value {value!r}. Write a number of processors, like 2 or 0.5.")


_SIZES = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}


def _memory(name: str, value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    size = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?\s*", value.lower()) if isinstance(value, str) else None
    if size is None or float(size[1]) == 0:
        raise ValueError(f'{name} has value {value!r}. Write something like "512 MB" or "2 GB", or a number of bytes.')
    return int(float(size[1]) * _SIZES[size[2]])


def _processes(name: str, value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 8000:
        return value
    raise ValueError(f"{name} has value {value!r}. Write a whole number of processes between 1 and 8000.")


def _count(name: str, value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 100:
        return value
    raise ValueError(f"{name} has value {value!r}. Write a whole number of people between 1 and 100.")


def _fields(name: str, value: object) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(f'{name} has value {value!r}. Write a dict: {{"version": "1.0", "where": ["eu", "us"]}}.')
    return {_text(name, field): _field(name, field, kind) for field, kind in value.items()}


def _field(name: str, field: str, kind: object) -> Any:
    if isinstance(kind, (str, bool, int, float)):
        return kind
    if isinstance(kind, (list, tuple)) and kind and all(isinstance(choice, str) for choice in kind):
        return list(kind)
    raise TypeError(f"{name} gives {field!r} the value {kind!r}. Write a default, or a list of choices.")


_RUN: dict[str, Callable[[str, Any], Any]] = {
    "tools": _texts, "image": _text, "python": _text, "setup": _text, "setup_inputs": _paths, "env": _env,
    "secrets": _secrets, "environment": _text, "network": _network, "cwd": _relative, "timeout": timeout_option,
    "retries": _retries, "check": _flag, "keep": _flag, "junit": _patterns, "artifacts": _patterns, "memory": _memory,
    "processes": _processes, "cpu": _cpu, "cache": cache_option, "services": _services, "reuse": _reuse,
}  # fmt: skip
_IMAGE: dict[str, Callable[[str, Any], Any]] = {
    "context": _relative, "file": _relative, "args": _env, "target": _text, "network": _flag, "timeout": timeout_option,
    "retries": _retries,
}  # fmt: skip
_APPROVAL: dict[str, Callable[[str, Any], Any]] = {
    "environment": _text, "reviewers": _texts, "count": _count, "fields": _fields, "timeout": timeout_option,
}  # fmt: skip


def require_fit(name: str, options: dict[str, Any], text: str) -> None:
    """Refuse settings that the host would not take; `text` is their JSON. Raises ValueError."""
    size = len(text) if text.isascii() else len(json.dumps(options, separators=(",", ":")))
    if size > OPTION_BYTES:
        raise ValueError(f"The settings of step {name!r} are {size:,} bytes; at most 256 KiB. Use a file.")
