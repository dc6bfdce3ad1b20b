"""Several modules as one script: what a page needs at once comes in one answer, not import after import."""

import re
from collections.abc import Callable

_IMPORT = re.compile(r"^import (?:\{ ([\w, ]+) \} from )?'\./(\w+)\.js';$", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|class) (\w+))", re.MULTILINE)
_EXPORTS = re.compile(r"^export \{ ([\w, ]+) \};$", re.MULTILINE)
_LEFT = re.compile(r"^(?:import|export)\b.*", re.MULTILINE)


def joined(entry: str, read: Callable[[str], str]) -> str:
    """Write a module and all that it imports one after the other, in the order in which browsers run them.

    Each is a function's scope, called once. `read` gives a module's text by its name without `.js`. Raises ValueError
    for modules that import each other in a circle, and for imports and exports of another form than ours.
    """
    order: dict[str, str] = {}
    _add(entry, read, order, ())
    return "".join(order.values())


def _add(name: str, read: Callable[[str], str], order: dict[str, str], above: tuple[str, ...]) -> None:
    if name in above:
        raise ValueError(f"These modules import each other: {', '.join((*above, name))}.")
    if name in order:
        return
    text = read(name)
    for _, other in _IMPORT.findall(text):
        _add(other, read, order, (*above, name))
    given = [*_EXPORT.findall(text), *", ".join(_EXPORTS.findall(text)).split(", ")]
    for form in (_EXPORT, _EXPORTS):
        text = form.sub("", text)
    text = _IMPORT.sub(lambda found: f"const {{ {found[1]} }} = ${found[2]};" if found[1] else "", text)
    if left := _LEFT.search(text):
        raise ValueError(f"{name}.js has an import or export that cannot be joined: {left[0]}")
    order[name] = f"const ${name} = (() => {{\n{text}\nreturn {{ {', '.join(filter(None, given))} }};\n}})();\n"
