"""The git credential helper: `python -m stepwell.cli.credential get`, as `stepwell init` sets it up.

Nothing heavy is imported here: git waits for this at every push.
"""

import sys

from stepwell.cli.logins import Logins
from stepwell.errors import StepwellError


def answer(request: str, logins: Logins) -> str:
    """Answer git's question about one server; nothing at all when it is not known."""
    asked = dict(line.split("=", 1) for line in request.splitlines() if "=" in line)
    login = logins.find(f"{asked.get('protocol', '')}://{asked.get('host', '')}")
    return "" if login is None else f"username=stepwell\npassword={login.token}\n"


def main() -> None:
    """Serve `get`; `store` and `erase` are git's business with other helpers."""
    if sys.argv[1:] != ["get"]:
        return
    try:
        sys.stdout.write(answer(sys.stdin.read(), Logins()))
    except StepwellError as error:
        sys.stderr.write(f"stepwell: {error}\n")


if __name__ == "__main__":
    main()
