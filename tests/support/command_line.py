"""A person at a terminal: a home of their own, the installed `stepwell` on their PATH, nothing configured before."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BIN = Path(sys.executable).parent
ENDS_WITHIN_SECONDS = 240

Done = subprocess.CompletedProcess[str]


@dataclass(frozen=True)
class Terminal:
    """Runs commands as one person on one machine."""

    home: Path
    more: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """What the commands see."""
        kept = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_"))}
        return {
            **kept, "HOME": str(self.home), "PATH": f"{BIN}:{os.environ['PATH']}", "LANG": "C.UTF-8",
            "GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_NOSYSTEM": "1", "STEPWELL_STATE": str(self.home / "state"),
            **self.more,
        }  # fmt: skip

    def run(self, *argv: str, cwd: Path | None = None, input: str | None = None) -> Done:
        """Run a program to its end, with nobody at the keyboard."""
        stdin: dict[str, Any] = {"stdin": subprocess.DEVNULL} if input is None else {"input": input}
        return subprocess.run(
            argv, cwd=cwd or self.home, env=self.environment, capture_output=True, text=True, check=False,
            timeout=ENDS_WITHIN_SECONDS, **stdin,
        )  # fmt: skip

    def stepwell(self, *argv: str, cwd: Path | None = None, input: str | None = None) -> Done:
        """Run a command of Stepwell's."""
        return self.run(str(BIN / "stepwell"), *argv, cwd=cwd, input=input)

    def json(self, *argv: str, cwd: Path | None = None, input: str | None = None, code: int = 0) -> Any:
        """Run a command with --json; its value."""
        done = self.stepwell(*argv, "--json", cwd=cwd, input=input)
        assert done.returncode == code, done.stderr + done.stdout
        return json.loads(done.stdout)

    @contextmanager
    def server(self, command: str = "stepwell up") -> Iterator[str]:
        """Start a server in a terminal of its own, as the line says; the address that it prints."""
        log = self.home / "server.log"
        with log.open("w") as file:  # a pipe that nobody reads would stop it once it is full
            shell = subprocess.Popen(
                ["/bin/sh", "-c", f"exec {command}"], cwd=self.home, env=self.environment, text=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=file,
            )  # fmt: skip
        assert shell.stdout is not None
        try:
            line = shell.stdout.readline()
            assert "Stepwell is up at " in line, line + log.read_text()
            yield line.rpartition(" ")[2].strip()
        finally:
            shell.terminate()
            shell.wait(60)
            shell.stdout.close()
