"""What a step.run asks for, as numbers and texts: options of the journal → variables, arguments, limits. Pure."""

import posixpath
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from stepwell.engine.seams import Attempt, CacheRights, Prepared
from stepwell.errors import Invalid
from stepwell.store.masks import Masker, masks_of
from stepwell_runners.caching import CacheAsked
from stepwell_runners.collected import Asked
from stepwell_runners.pythons import OWN, pythons
from stepwell_runners.spec import FILES, WORKSPACE, Egress

OUTPUT_FILE = f"{FILES}/stepwell-output"
DEFAULT_TIMEOUT = 3600.0  # seconds
MOST_OUTPUTS = 500
MOST_OUTPUT_BYTES = 1 << 20
MOST_SERVICES = 10
NetworkPolicy = Literal["any", "listed", "none"]
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")
_HOST = re.compile(r"[a-z][a-z0-9-]{0,62}")
_OUTPUT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,99}")


@dataclass(frozen=True)
class ServicePlan:
    """A container beside the step's, known to it as `name`. Without `image` it is one of the step's own."""

    name: str
    image: str | None
    argv: tuple[str, ...] | None  # from the workspace; None: what the image is made for
    env: Mapping[str, str] = field(repr=False)
    ready: str | None  # a shell command that succeeds when it can be used


@dataclass(frozen=True)
class Asker:
    """For whom an image is looked up, and what that one may pull with: host → (user name, password)."""

    tenant: str
    repository: str
    registries: Mapping[str, tuple[str, str]] = field(default_factory=dict, repr=False)


def asker_of(attempt: Attempt, prepared: Prepared) -> Asker:
    """Return for whom the images of an attempt are."""
    return Asker(attempt.tenant, repository_of(attempt), prepared.registries)


def repository_of(attempt: Attempt) -> str:
    """Return to which repository the caches and images of an attempt belong."""
    return f"{attempt.tenant}/{attempt.metadata.get('repository') or attempt.scope}"


@dataclass(frozen=True)
class CommandPlan:
    """One command, wherever it runs. `env` holds the secrets of this attempt: never log it."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)
    files: Mapping[str, bytes] = field(repr=False)
    cwd: str
    timeout: float  # seconds
    network: Egress | None
    memory: int | None  # bytes
    processes: int | None
    cpu: float | None
    tools: tuple[str, ...]
    python: str
    image: str | None
    setup: str | None
    setup_inputs: tuple[str, ...]
    setup_makers: tuple[str, ...]  # whose setup it may be; it is made for the last of them
    check: bool
    keep: bool
    collected: Asked
    caches: tuple[CacheAsked, ...]
    cache_rights: CacheRights
    repository: str  # to which its caches belong
    reuse: tuple[str, ...]
    asker: Asker
    services: tuple[ServicePlan, ...] = ()


def plan(attempt: Attempt, prepared: Prepared, policy: NetworkPolicy = "any", memory: int | None = None) -> CommandPlan:
    """Return what an attempt of step.run asks for. Raises Invalid for what an isolate or container cannot give.

    The operator's word: `policy` on what isolates may reach – any public host, those that a step lists, or nothing –
    and `memory`, the bytes that a step may ask for as its limit.
    """
    options = attempt.options
    _check_memory(options.get("memory"), memory)
    _check_python(options)
    if options.get("reuse") and (options.get("secrets") or options.get("environment")):
        raise Invalid("reuse= and secrets= or environment= exclude each other: a step that is given access has to run.")
    if not options.get("image"):
        _check_network(options.get("network", False), policy)
    return CommandPlan(
        argv=_argv(options["command"]),
        env=_environment(attempt, prepared),
        files=_files(prepared),
        cwd=_folder(options.get("cwd") or ""),
        timeout=float(options.get("timeout") or DEFAULT_TIMEOUT),
        network=_network(options.get("network", bool(options.get("image")))),
        memory=options.get("memory"),
        processes=options.get("processes"),
        cpu=options.get("cpu"),
        tools=tuple(options.get("tools") or ()),
        python=options.get("python") or OWN,
        image=options.get("image"),
        setup=options.get("setup"),
        setup_inputs=tuple(options.get("setup_inputs") or ()),
        setup_makers=prepared.setups,
        check=options.get("check", True),
        keep=options.get("keep", True),
        collected=Asked(
            tuple(options.get("artifacts") or ()), tuple(options.get("junit") or ()), options.get("cwd") or ""
        ),
        caches=tuple(CacheAsked.of(one) for one in options.get("cache") or ()),
        cache_rights=prepared.caches,
        reuse=tuple(options.get("reuse") or ()),
        repository=repository_of(attempt),
        asker=asker_of(attempt, prepared),
        services=_services(options.get("services") or {}),
    )


def _services(given: Any) -> tuple[ServicePlan, ...]:
    """Check what the code sent: names become those of hosts."""
    if not isinstance(given, Mapping) or len(given) > MOST_SERVICES:
        raise Invalid(f"services has value {str(given)[:80]!r}. Write a dict of at most {MOST_SERVICES} services.")
    return tuple(_service(name, one) for name, one in given.items())


def _service(name: str, given: Mapping[str, Any]) -> ServicePlan:
    if not _HOST.fullmatch(name) or name == "localhost":
        raise Invalid(f"services names the host {name[:80]!r}. Write lower-case letters, digits and -, a letter first.")
    argv = _argv(given["command"]) if given.get("command") else None
    return ServicePlan(name, given.get("image"), argv, given.get("env") or {}, given.get("ready"))


def _check_memory(asked: int | None, most: int | None) -> None:
    if asked is not None and most is not None and asked > most:
        raise Invalid(
            f"memory= asks for {asked / (1 << 30):.4g} GiB, and a step may have {most / (1 << 30):.4g} GiB here. "
            "Ask for less, or have the operator raise STEPWELL_STEP_MEMORY_GB."
        )


def _check_python(options: Mapping[str, Any]) -> None:
    """Refuse early what would otherwise be ignored."""
    asked = options.get("python")
    if options.get("image"):
        if options.get("tools"):
            raise Invalid("tools= belongs to steps without image=. Install them in setup=, or take an image with them.")
    elif asked and asked not in pythons():
        here = " and ".join(sorted(pythons(), key=_numbers))
        raise Invalid(f'This runner has Python {here}, not {asked!r}. Use image="python:{asked}-slim" for another one.')
    elif options.get("services"):
        raise Invalid("services= needs image=: a step in an isolate reaches no other container. Name the step's image.")


def _numbers(version: str) -> list[int]:
    return [int(number) for number in version.split(".")]


def _check_network(option: bool | list[str], policy: NetworkPolicy) -> None:
    if option and policy == "none":
        raise Invalid("This server gives steps no network (STEPWELL_NETWORK=none). Leave network= out, or use image=.")
    if policy == "listed" and (option is True or (option and "*" in option)):
        raise Invalid(
            "This server lets steps reach only hosts that they list (STEPWELL_NETWORK=listed). "
            'Write network=["example.org"] with those that this step needs.'
        )


def _argv(command: str | list[str]) -> tuple[str, ...]:
    return ("sh", "-c", command) if isinstance(command, str) else tuple(command)


def _environment(attempt: Attempt, prepared: Prepared) -> dict[str, str]:
    """Return the variables of a command: ours first, then the author's, then secrets."""
    own = {
        "CI": "true",
        "STEPWELL": "true",
        "STEPWELL_RUN": attempt.run,
        "STEPWELL_STEP": attempt.name,
        "STEPWELL_ATTEMPT": str(attempt.number),
        "STEPWELL_OUTPUT": OUTPUT_FILE,
        "PYTHONUNBUFFERED": "1",  # lines appear as they are printed
        "PYTHONDONTWRITEBYTECODE": "1",  # and reading a module changes nothing in the workspace
    }
    for variable, name in (("STEPWELL_REPOSITORY", "name"), ("STEPWELL_COMMIT", "commit")):
        if isinstance(attempt.metadata.get(name), str):
            own[variable] = attempt.metadata[name]
    files = {variable: f"{FILES}/{variable}" for variable in prepared.files}
    return {**own, **(attempt.options.get("env") or {}), **prepared.env, **files}


def _files(prepared: Prepared) -> dict[str, bytes]:
    """Return the private files; each is named like its variable, and becomes a path of the host's for containers."""
    for name in prepared.files:
        if not _VARIABLE.fullmatch(name):
            raise Invalid(f"secrets names the variable {name[:80]!r}. Write letters, digits and _, no digit first.")
    return {name: content.encode() for name, content in prepared.files.items()}


def _folder(cwd: str) -> str:
    """Return the working directory inside the workspace."""
    path = posixpath.normpath(posixpath.join(WORKSPACE, cwd))
    if path != WORKSPACE and not path.startswith(WORKSPACE + "/"):
        raise Invalid(f'cwd has value {cwd!r}, outside of the workspace. Write a path inside it, like "services/api".')
    return path


def _network(option: bool | list[str]) -> Egress | None:
    if isinstance(option, list):
        return Egress(frozenset(option))
    return Egress() if option else None


def read_outputs(text: bytes, masks: tuple[str, ...], note: Callable[[str], None]) -> dict[str, str]:
    """Return the `key=value` lines of $STEPWELL_OUTPUT; what is none, or holds a secret, is left out and noted."""
    outputs: dict[str, str] = {}
    masker = Masker(masks_of(masks))
    if len(text) > MOST_OUTPUT_BYTES:
        note(f"$STEPWELL_OUTPUT is longer than {MOST_OUTPUT_BYTES >> 20} MiB; none of it was kept.")
        return outputs
    for line in text.decode(errors="replace").splitlines():
        name, equals, value = line.partition("=")
        name = name.strip()
        if not line.strip():
            continue
        if not equals or not _OUTPUT_NAME.fullmatch(name):
            note("A line of $STEPWELL_OUTPUT was left out: it is not of the form key=value.")
        elif any(mask and mask in value for mask in masks) or masker.clean(value.encode()) != value.encode():
            note(f"Output {name!r} was left out: it contains a secret.")
        elif len(outputs) >= MOST_OUTPUTS:
            note(f"$STEPWELL_OUTPUT has more than {MOST_OUTPUTS} keys; the rest was left out.")
            break
        else:
            outputs[name] = value
    return outputs
