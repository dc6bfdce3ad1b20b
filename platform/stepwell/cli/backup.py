"""`stepwell backup FILE` and `stepwell restore FILE`: everything kept as one file, and back to a directory."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from stepwell.cli.screen import JsonFlag, console, say, show_json


def backup(
    file: Annotated[Path, typer.Argument(help="File to write; there must be none of that name.")],
    without_key: Annotated[
        bool, typer.Option("--without-key", help="Leave out the key that opens secrets; keep it elsewhere.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Write everything that the server keeps to one file, as of one moment. The server may be running."""
    from stepwell.cli.backing_up import back_up
    from stepwell.cli.compose import settings_with
    from stepwell.store.backups import note_backup

    settings = settings_with()
    with _told(hidden=json) as tell:
        done = back_up(settings, file.absolute(), with_key=not without_key, tell=tell)
    try:
        note_backup(settings.state, done)
    except OSError as error:
        say(f"The backup is whole, but the page for admins will not tell of it: {error}.", "yellow")
    if json:
        show_json(done)
        return
    say(
        f"{file}: {done['runs']:,} runs, {done['repositories']:,} repositories, {done['bytes'] / 1e6:,.1f} MB.", "green"
    )
    say(
        f"Secrets cannot be opened without {done['key']}: keep a copy of it elsewhere."
        if without_key
        else "It holds the key that opens secrets: keep it as you keep them."
    )


def restore(
    file: Annotated[Path, typer.Argument(help="A file written by `stepwell backup`.")],
    key: Annotated[Path | None, typer.Option(help="Key file, when the backup was made without it.")] = None,
    json: JsonFlag = False,
) -> None:
    """Put a backup into an empty state directory. Start the server on it afterwards, and the old one never again."""
    from stepwell.cli.compose import settings_with
    from stepwell.cli.restoring import put_back

    settings = settings_with()
    with _told(hidden=json) as tell:
        done = put_back(settings, file.absolute(), key, tell)
    if json:
        show_json(done)
        return
    say(f"Restored to {settings.state}: {done['runs']:,} runs as of {done['created_at']}. Start: stepwell up", "green")
    if not done["key"]:
        say(
            "The backup holds no key: secrets cannot be opened. Put the old key file to "
            f"{settings.state / 'key'} before the first start, or set the secrets again.",
            "yellow",
        )


@contextmanager
def _told(*, hidden: bool) -> Iterator[Callable[[str, int], None]]:
    """Show what is under way: a word, and bytes so far."""
    from rich.progress import Progress, TextColumn

    columns = (TextColumn("{task.description}"), TextColumn("{task.completed:,.1f} MB"))
    with Progress(*columns, console=console(stderr=True), transient=True, disable=hidden) as bar:
        task = bar.add_task("", total=None)

        def tell(part: str, size: int) -> None:
            bar.update(task, description=part, advance=size / 1e6)

        yield tell
