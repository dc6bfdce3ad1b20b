"""Modules that are sent as one script."""

import re
import shutil
import subprocess

import pytest

from stepwell_web.scripts import joined
from stepwell_web.templating import SCRIPTS, STATIC, static_names

MODULES = {
    "page": "import { twice } from './numbers.js';\nimport { say } from './words.js';\nimport './early.js';\n"
    "const log = 'a name of its own';\nsay(twice(4), log);\n",
    "numbers": "export function twice(n) { return 2 * n; }\n",
    "words": "import { twice } from './numbers.js';\nconst log = console.log;\nexport async function never() {}\n"
    "class Told { text(...all) { return [twice(1), ...all].join(' '); } }\n"
    "function say(...all) { log(new Told().text(...all)); }\nexport { Told, say };\n",
    "early": "console.log('early');\n",
}


def test_each_module_comes_once_after_those_that_it_imports() -> None:
    text = joined("page", MODULES.__getitem__)
    assert re.findall(r"^const \$(\w+) = ", text, re.MULTILINE) == ["numbers", "words", "early", "page"]
    assert not re.findall(r"^\s*(?:import|export)\b", text, re.MULTILINE)


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_they_do_as_one_what_they_do_apart() -> None:
    script = joined("page", MODULES.__getitem__)
    ran = subprocess.run(["node", "--input-type=module"], input=script, capture_output=True, text=True, check=True)
    assert ran.stdout == "early\n2 8 a name of its own\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import { page } from './page.js';", "These modules import each other: page, page."),
        ("import * as all from './numbers.js';", "page.js has an import or export that cannot be joined: import * as"),
        ("export default 1;", "cannot be joined: export default 1;"),
        ("export const one = 1;", "cannot be joined: export const one = 1;"),
    ],
)
def test_what_cannot_be_joined_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        joined("page", {**MODULES, "page": text}.__getitem__)


def test_the_scripts_of_the_pages_can_be_joined() -> None:
    for name, entry in SCRIPTS.items():
        assert name in static_names()
        assert "$app = " in joined(entry, lambda module: (STATIC / f"{module}.js").read_text())
