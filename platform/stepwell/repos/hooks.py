"""Hooks that ask this process over two pipes, and the process's end of them.

git starts the hooks; they are small shell scripts in a directory of the service (`core.hooksPath`), because starting
an interpreter would cost more than the rest of the push. They inherit the pipes through git and find them by number in
`/proc/self/fd` (dash can only redirect one-digit descriptors). A socket would need a client program and a secret to
tell which push is asking; the pipes belong to exactly one.

Hook → server, fields ended by NUL: phase, quarantine, number of push options, each option, each line of git's
(`old new ref`), an empty field. Nothing in an environment variable or a ref name can contain NUL.
Server → hook, lines: `ok` or `no`, then each line to show with `-` before it, then `.`.
`proc-receive` passes git's packets on as they are, and ours to git: one line for each row of packets.
If the server dies, the hook reads the end of the pipe and refuses: git then moves nothing.
"""

import asyncio
import logging
import os
import re
import uuid
from dataclasses import replace
from pathlib import Path

from stepwell.errors import StepwellError, Unavailable
from stepwell.repos.many_refs import change_together
from stepwell.repos.pktline import FLUSH, encode, packets
from stepwell.repos.push import PushContext, PushHandler, RefUpdate

log = logging.getLogger(__name__)

_ASK = """\
#!/bin/sh
trap '' PIPE
exec 7>"/proc/self/fd/$STEPWELL_HOOK_OUT" 8<"/proc/self/fd/$STEPWELL_HOOK_IN"
count=${GIT_PUSH_OPTION_COUNT:-0} i=0
{
    printf '%s\\0' PHASE "$GIT_QUARANTINE_PATH" "$count"
    while [ "$i" -lt "$count" ]; do
        eval "option=\\$GIT_PUSH_OPTION_$i"
        printf '%s\\0' "$option"
        i=$((i + 1))
    done
    left=20
    while [ "$left" -gt 0 ] && IFS= read -r line; do printf '%s\\0' "$line"; left=$((left - 1)); done
    [ "$left" -gt 0 ] || tr '\\n' '\\0' || exit 1
    printf '\\0'
} >&7 2>/dev/null
verdict=
IFS= read -r verdict <&8
while IFS= read -r line <&8 && [ "$line" != . ]; do printf '%s\\n' "${line#-}" >&2; done
"""
_PRE = """\
case $verdict in
    ok) exit 0 ;;
    no) exit 1 ;;
esac
echo "stepwell: the server went away; nothing was changed, please push again" >&2
exit 1
"""
_TOGETHER = """\
#!/bin/sh
trap '' PIPE
exec 7>"/proc/self/fd/$STEPWELL_HOOK_OUT" 8<"/proc/self/fd/$STEPWELL_HOOK_IN" 9<&0
printf '%s\\0' proc-receive '' 0 '' >&7
cat <&9 >&7 &
for _ in greeting report; do IFS= read -r packets <&8 && printf %s "$packets"; done
"""
SCRIPTS = {
    "pre-receive": _ASK.replace("PHASE", "pre-receive") + _PRE,
    "proc-receive": _TOGETHER,
    "post-receive": _ASK.replace("PHASE", "post-receive"),
}
TOGETHER = {"receive.procReceiveRefs": "ad:refs"}
"""The setting with which git leaves new and deleted refs to `proc-receive`; without, it sees to them itself."""
_LONGEST_FIELD = 1024 * 1024  # bytes
_MOST_FIELDS = 200_000
_LONGEST_ANSWER = 32 * 1024  # characters
_PRE_RECEIVE_S = 60.0
_POST_RECEIVE_S = 30.0
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # would let a message repaint the pusher's terminal
_LATER = "stepwell: the push is saved; its runs start shortly"


def install_hooks(folder: Path) -> Path:
    """Write the hooks. Raises Unavailable where programs cannot be executed: git would skip the hooks silently."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, script in SCRIPTS.items():
        fresh = folder / f".{name}-{uuid.uuid4().hex}"
        fresh.write_text(script, "utf-8")
        fresh.chmod(0o755)
        fresh.replace(folder / name)
    check_hooks(folder)
    return folder


def check_hooks(folder: Path) -> None:
    """Raise Unavailable unless git will run all hooks."""
    for name in SCRIPTS:
        if not os.access(folder / name, os.X_OK):
            raise Unavailable(
                f"File {str(folder / name)!r} cannot be executed, so pushes could not be checked."
                " Put the state directory on a file system without 'noexec', or restart to write the file again."
            )


class HookChannel:
    """The server's end for one push. `child_fds` go to git; close them with `started` once it has inherited them."""

    def __init__(self, handler: PushHandler, context: PushContext, repository: Path) -> None:
        self._handler = handler
        self._context = context
        self._repository = repository
        self._read_fd, out_fd = os.pipe()
        in_fd, self._write_fd = os.pipe()
        self.child_fds = (out_fd, in_fd)
        self.environment = {"STEPWELL_HOOK_OUT": str(out_fd), "STEPWELL_HOOK_IN": str(in_fd)}

    def started(self) -> None:
        """Close the child's ends in this process: from now on the end of the pipe means the end of git."""
        for fd in self.child_fds:
            os.close(fd)

    def discard(self) -> None:
        """Close everything when git could not be started."""
        self.started()
        os.close(self._read_fd)
        os.close(self._write_fd)

    async def serve(self) -> None:
        """Answer the hooks until git has ended."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=_LONGEST_FIELD)
        source, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(self._read_fd, "rb", buffering=0)
        )
        sink, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, os.fdopen(self._write_fd, "wb", buffering=0))
        try:
            while True:
                fields = await _fields(reader)
                if fields is None:
                    return
                if fields[0] == "proc-receive":
                    features = await packets(reader)
                    sink.write(encode(b"version=1") + FLUSH + b"\n")
                    sink.write(await self._change(features, await packets(reader)))
                else:
                    sink.write(await self._answer(fields))
        except Exception:
            log.exception("the hooks of push %s were not understood; git refuses it", self._context.push)
        finally:
            source.close()
            sink.close()

    async def _answer(self, fields: list[str]) -> bytes:
        phase, quarantine, count, *rest = fields
        options, lines = rest[: int(count)], rest[int(count) :]
        updates = [RefUpdate(*line.split(" ", 2)) for line in lines]
        if phase == "pre-receive":
            inside = Path(quarantine) if quarantine else None
            context = replace(self._context, options=tuple(options), quarantine=inside)
            refusal = await self._pre_receive(context, updates)
            return encode_answer(refusal is None, (refusal or "").splitlines())
        context = replace(self._context, options=tuple(options))
        return encode_answer(True, await self._post_receive(context, updates))

    async def _change(self, features: list[bytes], commands: list[bytes]) -> bytes:
        """Change refs together, as far as possible, and leave the others to git; all where it is all or none."""
        updates = [RefUpdate(*command.decode("utf-8", "surrogateescape").split(" ", 2)) for command in commands]
        changed = set[str]()
        if b"atomic" not in b"".join(features):
            try:
                changed = await asyncio.to_thread(change_together, self._repository, updates)
            except (StepwellError, OSError) as error:
                log.warning("push %s has git change its refs one by one: %s", self._context.push, error)
        report = list[bytes]()
        for update in updates:
            report.append(encode(b"ok " + os.fsencode(update.ref)))
            if update.ref not in changed:
                report.append(encode(b"option fall-through"))
        return b"".join(report) + FLUSH + b"\n"

    async def _pre_receive(self, context: PushContext, updates: list[RefUpdate]) -> str | None:
        try:
            async with asyncio.timeout(_PRE_RECEIVE_S):
                return await self._handler.pre_receive(context, updates)
        except StepwellError as error:
            return str(error)
        except TimeoutError:
            return "stepwell: checking the push took too long; nothing was changed, please push again"
        except Exception:
            log.exception("push %s to %s could not be checked", context.push, context.repository)
            return "stepwell: the push could not be checked because of an error in the server; nothing was changed"

    async def _post_receive(self, context: PushContext, updates: list[RefUpdate]) -> list[str]:
        try:
            async with asyncio.timeout(_POST_RECEIVE_S):
                return await self._handler.post_receive(context, updates)
        except TimeoutError:
            return [_LATER]
        except Exception:
            log.exception("push %s to %s was accepted but not followed up", context.push, context.repository)
            return [_LATER]


def encode_answer(ok: bool, lines: list[str]) -> bytes:
    """Encode a verdict and the lines to show, without control characters and within bounds."""
    shown = [_CONTROL.sub("?", part) for line in lines for part in line.split("\n")]
    text = "".join(f"-{line}\n" for line in shown)
    if len(text) > _LONGEST_ANSWER:
        text = text[:_LONGEST_ANSWER].rpartition("\n")[0] + "\n-…\n"
    return f"{'ok' if ok else 'no'}\n{text}.\n".encode("utf-8", "replace")


async def _fields(reader: asyncio.StreamReader) -> list[str] | None:
    """Read one question; None at the end of git or when it is not to be understood (git then refuses the push)."""
    fields: list[str] = []
    announced = 3
    while True:
        try:
            field = (await reader.readuntil(b"\0"))[:-1].decode("utf-8", "surrogateescape")
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            return None
        if not field and len(fields) >= announced:
            return fields
        fields.append(field)
        if len(fields) == 3:
            if not field.isdecimal():
                return None
            announced += int(field)
        if len(fields) > _MOST_FIELDS:
            return None
