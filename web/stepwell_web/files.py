"""Files that a stranger's command wrote, as answers: to be saved, never to be run as a page of ours.

Whatever a file is or says it is, a browser is told that it is bytes to save. Pictures alone may be shown in a page of
ours, of four kinds that are told by their first bytes and can hold no script. Should one ever be opened by itself, the
sandbox gives it an origin of its own and nothing to load.
"""

from collections.abc import Iterable, Mapping
from urllib.parse import quote

from starlette.responses import StreamingResponse

SANDBOX = "sandbox; default-src 'none'; frame-ancestors 'none'"
_PICTURES = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png"), (0, b"\xff\xd8\xff", "image/jpeg"), (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"), (8, b"WEBP", "image/webp"),
)  # fmt: skip
HEAD_BYTES = 16


def picture_type(head: bytes) -> str | None:
    """Tell by its first bytes whether a file is a picture that browsers show: its type, or None."""
    return next((kind for at, mark, kind in _PICTURES if head[at : at + len(mark)] == mark), None)


def file_answer(pieces: Iterable[bytes], path: str, size: int | None, picture: str | None = None) -> StreamingResponse:
    """Send a file to be saved under its name, or as the `picture` that it is."""
    headers = {"Content-Security-Policy": SANDBOX, **_disposition(path, "inline" if picture else "attachment")}
    if size is not None:
        headers["Content-Length"] = str(size)
    return StreamingResponse(pieces, headers=headers, media_type=picture or "application/octet-stream")


def _disposition(path: str, how: str) -> Mapping[str, str]:
    name = path.rpartition("/")[2].replace("\\", "_")
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "-._") else "-" for c in name)
    return {"Content-Disposition": f"{how}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"}
