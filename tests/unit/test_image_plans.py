"""What a build may ask for, what its failure means, and how far a pull is."""

import dataclasses
from itertools import count
from pathlib import Path

import docker.errors
import logged
import pytest
from docker.utils.build import PatternMatcher

from stepwell.engine.seams import Prepared
from stepwell.errors import Invalid, Unavailable
from stepwell_runners.build_context import check_syntax, ignored_by, image_plan
from stepwell_runners.builders import arguments
from stepwell_runners.classic_names import images_of
from stepwell_runners.image_builds import failure
from stepwell_runners.images import BUILT, progress
from stepwell_runners.outcomes import BuildFailed, EngineFull


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"context": "../up"}, "outside of the workspace"),
        ({"context": "/etc"}, "outside of the workspace"),
        ({"file": "a/../../b"}, "outside of the workspace"),
        ({"args": {"BUILDKIT_CACHE_MOUNT_NS": "theirs"}}, "args names"),
        ({"args": {"buildkit_syntax": "evil"}}, "args names"),
        ({"args": {"A=B": "x"}}, "args names"),
        ({"target": "--push"}, "name of a stage"),
    ],
)
def test_a_build_is_refused_what_is_not_its_own(options: dict[str, object], words: str) -> None:
    with pytest.raises(Invalid, match=words):
        image_plan(dataclasses.replace(logged.attempt(""), kind="image", options=options), Prepared())


def test_a_client_is_given_texts_as_values_only_and_the_branchs_cache() -> None:
    options = {"file": "./-f", "args": {"A": "--push"}, "target": "t", "network": False}
    asked = image_plan(dataclasses.replace(logged.attempt(""), kind="image", options=options), Prepared())
    assert (asked.context, asked.file, asked.asker.repository) == ("", "-f", "acme/acme/api")
    made = arguments(asked, {BUILT: "mark"}, Path("/w"))
    own = made[6].rpartition("=")[2]
    others = [arguments(dataclasses.replace(asked, makers=("", "topic")), {BUILT: "mark"}, Path("/w"))[6]]
    others += [arguments(asked, {BUILT: "another"}, Path("/w"))[6]]
    assert len({*others, made[6]}) == 3 and len(own) == 32
    assert made == [
        "--progress=plain", "--iidfile=/w/id", "--file=-f", "--network=none", "--label=stepwell.built=mark",
        "--build-arg=A=--push", f"--build-arg=BUILDKIT_CACHE_MOUNT_NS={own}", "--target=t", "-",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    ["# syntax=evil/x\nFROM a", "#SYNTAX = docker/dockerfile.evil:1", '{"syntax": "x"}',
     "\ufeff# syntax=docker/dockerfile@sha256:1",
     "#!/bin/x\n// syntax=evil\nFROM a", '#!/bin/x\n{"syntax": "evil/x"}', '\ufeff#!x\r\n {"syntax": "x"}',
     "# escape=`\n# syntax=evil/docker/dockerfile:1\n"],
)  # fmt: skip
def test_a_dockerfile_may_not_bring_its_own_builder(text: str) -> None:
    with pytest.raises(Invalid):
        check_syntax("Dockerfile", text)


@pytest.mark.parametrize("line", ["\n", "#\n", " ", "syntax", "FROM a:1\n", " --from=b:1", "#escape\n"])
def test_a_long_dockerfile_is_read_in_one_go(line: str) -> None:
    text = line * ((1 << 20) // len(line))
    check_syntax("Dockerfile", text)
    images_of("Dockerfile", text)


def test_the_usual_builders_are_fine() -> None:
    check_syntax("Dockerfile", "FROM a\nRUN syntax-check")
    check_syntax("Dockerfile", "# syntax=docker/dockerfile:1.7\nFROM a")
    check_syntax("Dockerfile", "#syntax=docker.io/docker/dockerfile")


@pytest.mark.parametrize(
    "text",
    [
        "FROM 0", "from  02ab", "FROM sha256:02ab", "FROM --platform=linux/amd64 cafe AS x", "FROM $X", 'FROM "0"',
        "FROM 0\\\n2", "FRO\\\nM 0", "F\\\nROM 0", "\\\nFROM 0", "RUN a \\\\\nFROM 0", "RUN a \\\n# b \\\nFROM 0",
        "# escape=`\nFROM a:1", "FROM\\\n 0", "\ufeffFROM 0", "FROM a:1\nCOPY --from=2a / /x",
        "FROM a:1\nCOPY --chown=1 --from=cafe / /x", "FROM a:1\nCOPY --fr\\om=2a / /x",
        "FROM a:1\nCOPY --fr\\\nom=2a / /x", "FROM a:1\nCOPY -\\\n-from=2a / /x", 'FROM a:1\nCOPY --"from"=2a / /x',
        "FROM a:1\nCOPY --from=$X / /x", "FROM a:1\nCOPY --from=0\\\n2a / /x", "FROM a:1\nONBUILD COPY --from=2a / /x",
        "FROM a:1\nCOPY --from=0000000000000000002 / /x", "RUN a \\\nFROM a:1 AS cafe\nCOPY --from=cafe / /x",
    ],
)  # fmt: skip
def test_a_dockerfile_for_the_classic_builder_names_no_image_by_its_id(text: str) -> None:
    with pytest.raises(Invalid, match=r"classic builder.*buildx"):
        images_of("Dockerfile", text)


def test_a_dockerignore_leaves_out_what_docker_would() -> None:
    text = "# all logs\n**/*.log\n/build/\ndocs\n!docs/README.md\n*/tmp?\n.dockerignore\nx/../y\n!**/kept.log"
    names = (
        "a.log", "deep/in/a.log", "build", "build/x/y", "builds", "docs/a/b", "docs/README.md", "sub/tmp1", "tmp1", "y",
        ".dockerignore", "deep/kept.log", "src/main.py", "src/build",
    )  # fmt: skip
    ignored = ignored_by(".dockerignore", text)
    theirs = PatternMatcher(text.splitlines()[1:])
    assert list(map(ignored, names)) == [theirs.matches(name) for name in names]  # type: ignore[arg-type]  # a text
    assert [name for name in names if not ignored(name)] == [
        "builds", "docs/README.md", "tmp1", ".dockerignore", "deep/kept.log", "src/main.py", "src/build",
    ]  # fmt: skip


def test_a_dockerignore_that_would_take_years_takes_no_time() -> None:
    assert not ignored_by(".dockerignore", "*a" * 30 + "*b")("a" * 250)
    with pytest.raises(Invalid, match="at most 1,000"):
        ignored_by(".dockerignore", "x\n" * 1001)
    with pytest.raises(Invalid, match="a set is wrong"):
        ignored_by(".dockerignore", "[z-a]")


def test_the_images_of_usual_dockerfiles_are_found() -> None:
    text = (
        "# FROM 0\nARG A=1\nFROM python:3.12-slim AS base\nRUN apt-get install -y --no-install-recommends \\\n  gcc\n"
        "  # why --from=0\nFROM --platform=linux/amd64 cafe:latest AS tools\nCOPY --from=base /a /b\n"
        "COPY --from=0 /a /b\n"
        "from base\nCOPY --from=tools --chown=1:1 /x \\\n /y\nCOPY --from=registry.example.org:5000/a/b@sha256:00 / /\n"
        "FROM scratch\nCOPY . /\nRUN git log --pretty=\"x\" -- 'a b'"
    )
    found = ["python:3.12-slim", "cafe:latest", "registry.example.org:5000/a/b@sha256:00"]
    assert images_of("Dockerfile", text) == found


@pytest.mark.parametrize(
    ("said", "kind", "words"),
    [
        ("#5 exec /bin/sh: exec format error\nfailed: exit code: 1\n", BuildFailed, "another processor"),
        ("x: pull access denied, repository does not exist\n", BuildFailed, "cannot be pulled"),
        ("#3 write /a: no space left on device\nfailed\n", EngineFull, "docker builder prune"),
        ("ERROR: Cannot connect to the Docker daemon at unix:///x\n", Unavailable, "went away"),
        ("executor failed running [false]: exit code: 1\n\n", BuildFailed, "The build failed: executor failed"),
        ("", BuildFailed, "it said nothing"),
    ],
)
def test_what_failed_is_named(said: str, kind: type[Exception], words: str) -> None:
    error = failure(said)
    assert type(error) is kind and words in str(error)


def test_a_pull_says_how_far_it_is_now_and_then_and_why_it_failed() -> None:
    def layer(id_: str, done: int) -> dict[str, object]:
        return {"status": "Downloading", "id": id_, "progressDetail": {"current": done, "total": 100_000_000}}

    events = [{"status": "Pulling"}, layer("a", 10_000_000), layer("b", 20_000_000)]
    events.append({"status": "Download complete", "id": "a"})
    clock = count(0, 3)
    assert list(progress(events, lambda: float(next(clock)))) == ["30 of 200 MB"]
    with pytest.raises(docker.errors.APIError, match="denied"):
        list(progress([{"error": "denied"}]))
