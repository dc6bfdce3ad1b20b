"""Pages as gzip: a run of two hundred steps is 125 kB of HTML and 9 kB on the way.

Not a middleware: streams, git and files must stay as they are. A page holds no token that a form needs, so that the
length of a compressed answer gives away nothing (forms are guarded by where they come from, see security.py).
"""

import gzip

from starlette.requests import Request
from starlette.responses import HTMLResponse

FROM_BYTES = 4096
LEVEL = 4
"""Costs 2 ms for 250 kB; higher levels cost more than they save."""


def page(request: Request, html: str, status: int = 200) -> HTMLResponse:
    """Answer with a page, packed for those who take it so."""
    body = html.encode()
    headers = {"Vary": "Accept-Encoding"}
    if len(body) >= FROM_BYTES and takes_gzip(request.headers.get("accept-encoding", "")):
        body = gzip.compress(body, LEVEL, mtime=0)
        headers["Content-Encoding"] = "gzip"
    return HTMLResponse(body, status, headers)


def takes_gzip(accepted: str) -> bool:
    """Read an `Accept-Encoding`."""
    for one in accepted.lower().split(","):
        coding, _, weight = one.partition(";")
        if coding.strip() in {"gzip", "*"}:
            return weight.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False
