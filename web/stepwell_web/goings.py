"""Asking before something goes for good: a page that names it. It works without a script."""

from dataclasses import dataclass

from starlette.datastructures import FormData
from starlette.responses import Response

from stepwell_web.visits import Visit, text


@dataclass(frozen=True)
class Going:
    """What is about to go, and what that means."""

    question: str  # "Delete the secret DEPLOY_KEY?"
    words: str
    deed: str  # word on the button
    back: str  # path of the page that it stands on
    typed: str = ""  # what is to be typed first: for what cannot be made again
    instead: tuple[str, str] | None = None  # what to do first, word and path: there is no button then


def confirmed(form: FormData) -> bool:
    """Say whether the form comes from the page that asks."""
    return text(form, "sure", "") == "yes"


def ask(visit: Visit, form: FormData, going: Going, crumbs: list[tuple[str, str]]) -> Response:
    """Show what is about to go; the button there sends the same form again. The caller has checked the rights."""
    own = ("sure", "typed")
    sent = [(name, value) for name, value in form.multi_items() if isinstance(value, str) and name not in own]
    wrong = bool(going.typed) and confirmed(form)
    return visit.page(
        "going.html", crumbs=crumbs, status=422 if wrong else 200, going=going, action=visit.request.url.path,
        sent=sent, wrong=wrong,
    )  # fmt: skip
