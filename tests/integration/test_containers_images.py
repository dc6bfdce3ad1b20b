"""Images that steps build of the workspace, against a real Docker engine, by both builders."""

import asyncio
import dataclasses
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from heavy import IMAGE, NoIsolates, attempt, nothing_left, run
from logged import Log

from stepwell.cli import doctor
from stepwell.engine.seams import Attempt
from stepwell.settings import Settings
from stepwell_runners import builders, image_builds
from stepwell_runners.executor import LocalExecutor
from stepwell_runners.images import BUILDS

pytestmark = pytest.mark.docker
BUILDERS = ("client", "classic")
NEW = secrets.token_hex(6)
"""In what is built: the engine's caches outlive a test."""


@pytest.fixture
async def executor(
    request: pytest.FixtureRequest, engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[LocalExecutor]:
    """An executor that builds with a client's BuildKit, or by the classic builder."""
    if getattr(request, "param", "client") == "classic":
        monkeypatch.setattr(image_builds, "find_client", lambda host, folder: None)
    elif builders.find_client("unix:///var/run/docker.sock", tmp_path) is None:
        pytest.skip("no docker client with BuildKit on PATH")
    executor = LocalExecutor.at(tmp_path / "state", NoIsolates(), warm_containers=0)
    yield executor
    ours = {"label": [f"{name}={value}" for name, value in executor._containers._label.items()]}
    for image in engine.images.list(BUILDS, filters=ours):
        engine.images.remove(image.id, force=True)
    assert list((tmp_path / "state" / "builds").iterdir()) == []
    await nothing_left(executor, engine)


def build(base: tuple[str, ...] = (), key: str = "image#1", **options: Any) -> Attempt:
    return dataclasses.replace(attempt("", base, key), kind="image", options=options)


async def files(executor: LocalExecutor, script: str, base: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The layers in which a script leaves its files."""
    made = await run(executor, attempt(script, base, f"files{len(base)}#1", network=False))
    assert made.layer, made
    return (*base, made.layer)


@pytest.mark.parametrize("executor", BUILDERS, indirect=True)
async def test_a_later_step_runs_in_the_image_that_an_earlier_one_built(executor: LocalExecutor, engine: Any) -> None:
    dockerfile = f"FROM {IMAGE}\nARG SAID\nCOPY . /made\nRUN cat /made/a && echo $SAID > /said\n"
    base = await files(
        executor,
        f"mkdir -p app/sub; printf '{dockerfile}' > app/Build; echo from the step {NEW} > app/a; chmod 700 app/a; "
        "echo x > app/sub/no.log; echo '*/*.log' > app/.dockerignore; ln -s /etc/passwd app/link; echo out > beside",
    )
    log = Log()
    asked = build(base, context="app", file="Build", args={"SAID": "it's $HOME"})
    built = await run(executor, asked, log)
    assert built.ok and built.value.startswith("sha256:") and built.layer is None, (built, log.text)
    assert "from the step" in log.text and all("classic builder" in note for note in log.notes)
    command = "cat /said /made/a; stat -c %a /made/a; find /made | sort; readlink /made/link; test ! -e /beside"
    used = await run(executor, attempt(command, key="use#1", image=built.value, network=False), log)
    assert used.ok, (used, log.text)
    assert log.text.endswith(
        f"it's $HOME\nfrom the step {NEW}\n700\n/made\n/made/.dockerignore\n/made/Build\n/made/a\n"
        "/made/link\n/made/sub\n/etc/passwd\n"
    )
    cached = Log()
    again = await run(executor, build(base, "again#1", **asked.options), cached)
    assert again.value == built.value and "cache" in cached.text.lower()
    ours = {"label": [f"{name}={value}" for name, value in executor._containers._label.items()]}
    assert [len(one.tags) for one in engine.images.list(BUILDS, filters=ours)] == [1]


async def test_an_image_is_its_repositorys_and_built_without_network_if_asked(
    executor: LocalExecutor,
) -> None:
    dockerfile = f"FROM {IMAGE}\\nRUN echo mine > /mine; ip -o addr # {NEW}\\nLABEL stepwell.built=x\\n"
    base, log = await files(executor, f"printf '{dockerfile}' > Dockerfile"), Log()
    built = await run(executor, build(base, network=False), log)
    assert built.ok, built
    assert "127.0.0.1" in log.text and "eth0" not in log.text, log.text
    stranger = dataclasses.replace(attempt("cat /mine", image=built.value, network=False), scope="other/api")
    for asked in (
        dataclasses.replace(stranger, tenant="other"),
        attempt("cat /mine", image="sha256:" + "0" * 64),
        attempt("cat /mine", image=built.value[:30]),
    ):
        refused = await run(executor, asked)
        assert refused.final and refused.error is not None and "registry" in refused.error["message"]
    beside = {"web": {"image": built.value, "command": "sleep 60"}}
    assert not (await run(executor, dataclasses.replace(attempt("true", services=beside), scope="other/api"))).ok


@pytest.mark.parametrize("executor", BUILDERS, indirect=True)
async def test_a_layer_that_a_stranger_made_without_network_is_no_others(executor: LocalExecutor) -> None:
    """What a line hides, with `||`, would else be in the images of all who have the same line."""
    line = f"RUN echo {NEW} && (ip addr | grep -q eth0 && echo net || echo none) > /made"
    base = await files(executor, f"printf 'FROM {IMAGE}\\n{line}\\n' > Dockerfile")

    async def made(scope: str, makers: tuple[str, ...], network: bool) -> str:
        asked = dataclasses.replace(build(base, network=network), scope=scope, tenant=scope.partition("/")[0])
        outcome = await run(executor, asked, setups=makers)
        assert outcome.ok, outcome
        step = attempt("cat /made", image=outcome.value, network=False)
        log = Log()
        assert (await run(executor, dataclasses.replace(step, scope=scope, tenant=asked.tenant), log)).ok
        return log.text.strip()

    assert await made("evil/x", ("main",), network=False) == "none"
    assert await made("acme/api", ("main",), network=True) == "net"
    assert await made("acme/api", ("main", "topic"), network=False) == "none"
    assert await made("acme/api", ("main",), network=True) == "net"


async def test_what_a_line_keeps_in_a_cache_mount_is_its_branchs(executor: LocalExecutor) -> None:
    """A branch writes there what it likes: another one would build with it."""
    line = "RUN --mount=type=cache,target=/c cp /c/who /found || true; echo $SAID > /c/who"
    base = await files(executor, f"printf 'FROM {IMAGE}\\nARG SAID\\n{line}\\n' > Dockerfile")
    words = iter("abcdefgh")

    async def found(scope: str, *makers: str) -> str:
        """Build; the word that was there, of the builds so far."""
        asked = build(base, args={"SAID": f"{next(words)} {NEW}"})
        asked = dataclasses.replace(asked, scope=scope, tenant=scope.partition("/")[0])
        outcome = await run(executor, asked, setups=makers)
        step = attempt("cat /found || echo nothing", image=outcome.value, network=False)
        log = Log()
        assert (await run(executor, dataclasses.replace(step, scope=scope, tenant=asked.tenant), log)).ok
        return log.text.split()[-2] if NEW in log.text else ""

    assert await found("acme/api", "main", "topic") == ""
    assert await found("acme/api", "main", "topic") == "a"
    assert await found("acme/api", "main") == ""
    assert await found("acme/api", "main", "other") == ""
    assert await found("evil/x", "main") == ""
    assert await found("acme/api", "main") == "c"


@pytest.mark.parametrize("executor", ["classic"], indirect=True)
async def test_the_classic_builder_takes_layers_of_the_default_branch_and_of_its_own(executor: LocalExecutor) -> None:
    base = await files(executor, f"printf 'FROM {IMAGE}\\nRUN echo of-branches {NEW} > /made\\n' > Dockerfile")

    async def cached(*makers: str, key: str = "image#1") -> bool:
        log = Log()
        assert (await run(executor, build(base, key, args={}), log, setups=makers)).ok
        return "Using cache" in log.text

    assert not await cached("main", "topic") and await cached("main", "topic")
    assert not await cached("main", "other") and not await cached("main")
    assert await cached("main") and await cached("main", "third")


@pytest.mark.parametrize("executor", ["classic"], indirect=True)
async def test_the_classic_builder_finds_no_image_by_its_id(executor: LocalExecutor, engine: Any) -> None:
    dockerfile = f"FROM {IMAGE}\\nRUN echo theirs > /made # {NEW}\\nONBUILD COPY --chown=0 Dockerfile /x\\n"
    base = await files(executor, f"printf '{dockerfile}' > Dockerfile")
    theirs = await run(executor, build(base))
    assert theirs.ok, theirs
    engine.images.get(theirs.value).tag("stepwell-test/onbuild", "latest")
    try:
        id_ = theirs.value.removeprefix("sha256:")[:12]
        script = f"echo 'FROM {id_}' > id; printf 'FROM {IMAGE}\\nCOPY --from={id_} /made /\\n' > copy; "
        base = await files(executor, f"{script} echo 'FROM stepwell-test/onbuild:latest' > onbuild", base)
        for file, words in (("id", "somebody else's image"), ("copy", "somebody else's image"), ("onbuild", "buildx")):
            outcome = await run(executor, build(base, f"{file}#1", file=file))
            assert outcome.error is not None and words in outcome.error["message"], outcome
    finally:
        engine.images.remove("stepwell-test/onbuild:latest")


@pytest.mark.parametrize("executor", BUILDERS, indirect=True)
async def test_what_is_wrong_with_a_build_is_named(executor: LocalExecutor) -> None:
    base = await files(
        executor,
        f"printf 'FROM {IMAGE}\\nRUN echo trying {NEW}; exit 3\\n' > fails; "
        "echo 'FROM stepwell-test/missing:1' > missing; "
        "printf '#syntax=evil/frontend\\nFROM scratch\\n' > syntax; ln -s /etc/hostname link; echo NONSENSE > nonsense",
    )
    for file, type_, words in (
        ("fails", "BuildFailed", "3"),
        ("missing", "BuildFailed", "cannot be pulled"),
        ("nonsense", "BuildFailed", "NONSENSE"),
        ("syntax", "Invalid", "Only docker/dockerfile is allowed"),
        ("link", "Invalid", "no file of the context"),
        ("none", "Invalid", "no file of the context"),
        ("../fails", "Invalid", "outside of the workspace"),
    ):
        log = Log()
        outcome = await run(executor, build(base, file=file), log)
        assert not outcome.ok and outcome.error is not None, file
        assert (outcome.error["type"], words in outcome.error["message"]) == (type_, True), outcome.error
        assert (file != "fails") or "trying" in log.text


@pytest.mark.parametrize("executor", BUILDERS, indirect=True)
async def test_a_cancelled_build_is_over_on_the_engine_too(executor: LocalExecutor, engine: Any) -> None:
    base = await files(
        executor, f"printf 'FROM {IMAGE}\\nRUN echo begun $((41 + 1)); sleep 300 # {NEW}\\n' > Dockerfile"
    )
    log = Log()
    running = asyncio.create_task(run(executor, build(base), log))
    async with asyncio.timeout(90):
        while "begun 42" not in log.text:
            log.arrived.clear()
            await log.arrived.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(running, 60)
    async with asyncio.timeout(60):
        while any(NEW in command for command in _commands()):
            await asyncio.sleep(0.1)


def _commands() -> list[str]:
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(place.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue  # it has ended
    return found


async def test_no_engine_and_no_leave_are_said(tmp_path: Path) -> None:
    for executor, words in (
        (
            LocalExecutor.at(tmp_path / "a", NoIsolates(), docker_host=f"unix://{tmp_path}/none"),
            "No container engine answers",
        ),
        (LocalExecutor.at(tmp_path / "b", NoIsolates(), image_builds=False), "STEPWELL_IMAGE_BUILDS"),
    ):
        outcome = await run(executor, build())
        assert outcome.final and outcome.error is not None and words in outcome.error["message"]
        await executor.close()


def test_the_doctor_says_what_builds_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(state=tmp_path)
    found = builders.find_client("unix:///var/run/docker.sock", tmp_path)
    assert ("BuildKit by" if found else "classic builder") in doctor._docker(settings)[0].detail
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "classic builder" in doctor._docker(settings)[0].detail
    assert "STEPWELL_IMAGE_BUILDS" in doctor._docker(Settings(state=tmp_path, image_builds=False))[0].detail
