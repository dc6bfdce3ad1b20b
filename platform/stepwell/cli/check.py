"""`stepwell check`: is the `.stepwell/` of this working tree a pipeline that a server would accept?"""

import json as jsonlib
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from stepwell.cli.screen import COMMAND_FAILED, JsonFlag, say, show_json, tell
from stepwell.errors import Bug, Invalid

ROOT = ".stepwell"
SECONDS = 2.0  # as long as a server gives the declarations of a push


@dataclass(frozen=True)
class Checked:
    """What was found: pipelines as declared, or an error {type, message, file, line, traceback}."""

    pipelines: tuple[dict[str, Any], ...] = ()
    error: dict[str, Any] | None = None


def check(
    directory: Annotated[Path, typer.Argument(help="A directory of the working tree.")] = Path(),
    json: JsonFlag = False,
) -> None:
    """Check the pipelines of this working tree: syntax, imports, declarations. Starts no run."""
    found = describe(root_of(directory))
    if json:
        show_json({"ok": found.error is None, "pipelines": found.pipelines, "error": found.error})
    elif found.error is not None:
        say(f"✗ {_placed(found.error)}", "red")
    else:
        for pipeline in found.pipelines:
            words = ", ".join(_words(trigger) for trigger in pipeline["on"]) or "nothing: add `on = [push()]`"
            tell(f"✓ {pipeline['name']} ({ROOT}/{pipeline['entry'].partition(':')[0]}) starts on {words}")
    if found.error is not None:
        raise typer.Exit(1 if found.error["type"] != "Bug" else COMMAND_FAILED)


def root_of(directory: Path) -> Path:
    """The nearest directory upwards that has a `.stepwell/`."""
    start = directory.resolve()
    for place in (start, *start.parents):
        if (place / ROOT).is_dir():
            return place
    raise Invalid(f"There is no {ROOT}/ in {start} nor above it. Make one with `stepwell init`.")


def read_files(root: Path) -> dict[str, str]:
    """The texts below `.stepwell/`, as a server reads them from a commit."""
    files = {}
    for path in sorted((root / ROOT).rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            try:
                files[path.relative_to(root / ROOT).as_posix()] = path.read_text("utf-8")
            except UnicodeDecodeError:
                continue  # not a text: no pipeline can import it either
    return files


def describe(root: Path, seconds: float = SECONDS) -> Checked:
    """Import the pipelines in a process of their own, which sees `.stepwell/` and the standard library only."""
    head = {"mode": "describe", "root": ROOT, "files": read_files(root), "entry": "pipeline.py"}
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = subprocess.Popen(
            [sys.executable, "-s", "-P", "-m", "stepwell.authoring.isolate", str(theirs.fileno())],
            env={**os.environ, "PYTHONHASHSEED": "0"},
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            cwd=root,
        )
        theirs.close()
        try:
            ours.settimeout(seconds + 3)  # the interpreter's own start is not the author's fault
            ours.sendall(jsonlib.dumps(head).encode() + b"\n")
            return _answered(_read_line(ours))
        except TimeoutError:
            return Checked(
                error=_plain("TooSlow", f"Importing {ROOT}/ took longer than {seconds:g} s. Do less at import.")
            )
        finally:
            process.kill()
            process.wait()


def _read_line(sock: socket.socket) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        part = sock.recv(65536)
        if not part:
            raise Bug(
                "The process that reads the pipelines ended without an answer; its words are above. Please report."
            )
        line += part
    return line


def _answered(line: bytes) -> Checked:
    answer = jsonlib.loads(line)
    return Checked(tuple(answer["pipelines"])) if answer["ok"] else Checked(error=answer["error"])


def _plain(type_: str, message: str) -> dict[str, Any]:
    return {"type": type_, "message": message, "file": None, "line": None, "traceback": ""}


def _placed(error: dict[str, Any]) -> str:
    file, message = error.get("file") or "", str(error["message"])
    return message if not file.startswith(ROOT) or file in message else f"{file}:{error['line']}: {message}"


def _words(trigger: dict[str, Any]) -> str:
    match trigger["kind"]:
        case "push":
            return "push to " + ", ".join(trigger["branches"]) if trigger["branches"] else "every push"
        case "tag":
            return "tag " + ", ".join(trigger["patterns"]) if trigger["patterns"] else "every tag"
        case "cron":
            return f"cron {trigger['schedule']} ({trigger['tz']})"
        case _:
            return "a start by hand" + (f" ({', '.join(trigger['inputs'])})" if trigger.get("inputs") else "")
