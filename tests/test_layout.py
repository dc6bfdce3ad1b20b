"""The house keeps its shape: roots, the import table, names that must not appear."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from stepwell_runners.package_index import hosts

ROOT = Path(__file__).resolve().parents[1]
ROOTS = {"platform": "stepwell", "runners": "stepwell_runners", "web": "stepwell_web"}

# What each package may import of Stepwell itself. The longest matching name on the left decides;
# a name on the right allows that module and everything below it.
ROOM = {"stepwell.errors", "stepwell.settings"}
MAY_IMPORT: dict[str, set[str]] = {
    "stepwell": {"stepwell.authoring"},
    "stepwell.authoring": {"stepwell.authoring"},
    "stepwell.errors": set(),
    "stepwell.settings": {"stepwell.errors"},
    "stepwell.store": {
        "stepwell.store",
        "stepwell.engine.entries",
        "stepwell.engine.fold",
        "stepwell.engine.versions",
        *ROOM,
    },
    "stepwell.engine": {"stepwell.engine", "stepwell.authoring", "stepwell.store", *ROOM},
    "stepwell.dynamic": {"stepwell.dynamic", "stepwell.engine", *ROOM},
    "stepwell.repos": {"stepwell.repos", "stepwell.store", *ROOM},
    "stepwell.tenants": {"stepwell.tenants", "stepwell.store", *ROOM},
    "stepwell.bindings": {"stepwell.bindings", "stepwell.store", *ROOM},
    "stepwell.ci": {"stepwell"},
    "stepwell.cli": {"stepwell", "stepwell_runners", "stepwell_web"},
    "stepwell_runners": {"stepwell", "stepwell_runners"},
    "stepwell_web": {"stepwell", "stepwell_web"},
}
ONLY_STANDARD_LIBRARY = ("stepwell", "stepwell.authoring")
ENGINE_NEVER = ("stepwell.store.tables", "stepwell.store.logs")  # of the store, the engine knows the journal only
NOT_A_PEER = "stepwell.cli"  # the composition root is imported by nobody


def _modules() -> Iterator[tuple[str, Path]]:
    for root, package in ROOTS.items():
        for path in sorted((ROOT / root / package).rglob("*.py")):
            parts = path.relative_to(ROOT / root).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def _for_type_checking_only(tree: ast.Module) -> set[int]:
    """Ids of the nodes below `if TYPE_CHECKING:`, which import nothing when the program runs."""
    return {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and ast.unparse(branch.test).endswith("TYPE_CHECKING")
        for statement in branch.body
        for node in ast.walk(statement)
    }


def _imports(module: str, path: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text())
    skipped = _for_type_checking_only(tree)
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _rule(module: str) -> str:
    if module == "stepwell":
        return "stepwell"
    return max((name for name in MAY_IMPORT if f"{module}.".startswith(f"{name}.")), key=len)


def _below(name: str, allowed: str) -> bool:
    return f"{name}.".startswith(f"{allowed}.")


def _is_ours(name: str) -> bool:
    return name.split(".", maxsplit=1)[0] in ROOTS.values()


MODULES = list(_modules())


@pytest.mark.parametrize("root", ROOTS)
def test_source_roots_are_no_packages(root: str) -> None:
    assert not (ROOT / root / "__init__.py").exists(), "would hide a module of the standard library"


def test_tests_are_no_packages() -> None:
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_names_of_test_files_are_unique() -> None:
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))


def test_imports_point_one_way() -> None:
    wrong = [
        f"{module} imports {name}"
        for module, path in MODULES
        for name in _imports(module, path)
        if _is_ours(name)
        and name != "stepwell"  # the root itself, for its own place on disk
        and (
            not any(_below(name, allowed) for allowed in MAY_IMPORT[_rule(module)])
            or (_below(name, NOT_A_PEER) and _rule(module) != NOT_A_PEER)
        )
    ]
    assert wrong == []


def test_engine_knows_of_the_store_only_the_journal() -> None:
    wrong = [
        f"{module} imports {name}"
        for module, path in MODULES
        if _below(module, "stepwell.engine")
        for name in _imports(module, path)
        if any(_below(name, never) for never in ENGINE_NEVER)
    ]
    assert wrong == []


def test_authors_side_needs_the_standard_library_only() -> None:
    wrong = [
        f"{module} imports {name}"
        for module, path in MODULES
        if _rule(module) in ONLY_STANDARD_LIBRARY
        for name in _imports(module, path)
        if not _is_ours(name) and name.split(".")[0] not in sys.stdlib_module_names
    ]
    assert wrong == []


def test_every_imported_distribution_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {_distribution(line) for line in project["dependencies"]}
    # These come with a declared one, and are its public face.
    declared |= {"starlette", "pydantic", "sqlalchemy", "anyio", "click", "requests", "urllib3", "markupsafe"}
    known = packages_distributions()
    wrong = {
        f"{module} imports {name}"
        for module, path in MODULES
        for name in {full.split(".")[0] for full in _imports(module, path)}
        if name not in sys.stdlib_module_names
        and name not in ROOTS.values()
        and not {found.lower().replace("_", "-") for found in known.get(name, [])} & declared
    }
    assert wrong == set()


def _distribution(requirement: str) -> str:
    for sign in "[<>=;! ":
        requirement = requirement.split(sign, maxsplit=1)[0]
    return requirement.lower().replace("_", "-")


def test_constraints_are_plain_pins() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and line[0] != "#"]
    assert lines
    assert [line for line in lines if line.count("==") != 1 or "/" in line or "@" in line] == []


def _tracked_texts() -> Iterator[tuple[str, str]]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout: nothing to list")
    for name in filter(None, listed.stdout.decode().split("\0")):
        path = ROOT / name
        if path.is_file() and path.suffix not in {".png", ".ico", ".woff2", ".gz"}:
            yield name, path.read_text(errors="replace")


# Written in pieces, so that this file passes its own test.
REGISTRIES = ["pypi" + ".org", "pythonhosted" + ".org", "npmjs" + ".org", "deb." + "debian.org"]


def _forbidden() -> list[str]:
    """Public registries, the hosts this machine installs from, and the place of this checkout."""
    here = [str(ROOT)] if len(ROOT.parts) > 2 else []
    return [*REGISTRIES, *(host.partition(":")[0] for host in hosts() if "." in host), *here]


def test_no_registry_and_no_path_of_one_machine_is_named() -> None:
    forbidden = _forbidden()
    wrong = [f"{name}: {word}" for name, text in _tracked_texts() for word in forbidden if word in text]
    assert wrong == []
