"""Loads a pipeline's files from memory: `pipeline.py` is the module `pipeline`, its siblings are importable.

Nothing is written to disk. Code objects carry paths like `.stepwell/pipeline.py`, without a root the files' own names,
and linecache knows their text, so tracebacks read as the author expects. Third-party packages are not importable even
where the interpreter has some: what a pipeline can import must not depend on how the server was installed.
"""

import importlib
import linecache
import os
import sys
from collections.abc import Collection, Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from stepwell.authoring.failures import describe_error
from stepwell.authoring.pipeline import Pipeline, PipelineRefused, choose, pipelines_of
from stepwell.authoring.step import CALLS


class Files(MetaPathFinder, Loader):
    """The files of a pipeline as an importer."""

    def __init__(self, root: str, files: Mapping[str, str]) -> None:
        self.root = root.rstrip("/")
        self.files = files
        self.names: Collection[str] = {self.shown(path) for path in files}

    def shown(self, path: str) -> str:
        """Give a file's name as tracebacks show it."""
        return f"{self.root}/{path}" if self.root else path

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        base = fullname.replace(".", "/")
        if f"{base}/__init__.py" in self.files:
            return self._spec(fullname, f"{base}/__init__.py", package=True)
        if f"{base}.py" in self.files:
            return self._spec(fullname, f"{base}.py", package=False)
        if any(name.startswith(f"{base}/") and name.endswith(".py") for name in self.files):
            spec = ModuleSpec(fullname, None, is_package=True)
            spec.submodule_search_locations = self._below(base)
            return spec
        return None

    def _spec(self, fullname: str, path: str, *, package: bool) -> ModuleSpec:
        spec = ModuleSpec(fullname, self, origin=self.shown(path), is_package=package)
        spec.has_location = True
        spec.loader_state = path
        if package:
            spec.submodule_search_locations = self._below(path.rpartition("/")[0])
        return spec

    def _below(self, folder: str) -> list[str]:
        """Where else modules of a package may lie: without a root nowhere, a bare name is a folder of the process."""
        return [self.shown(folder)] if self.root else []

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        path = str(module.__spec__.loader_state)
        shown, text = self.shown(path), self.files[path]
        linecache.cache[shown] = (len(text), None, text.splitlines(keepends=True), shown)
        exec(compile(text, shown, "exec", dont_inherit=True), module.__dict__)  # noqa: S102 - the author's module


class LoadFailed(Exception):
    """The pipeline could not be loaded; `error` is what the host is told."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error["message"])
        self.error = error


def load_entry(files: Files, entry: str) -> type[Pipeline]:
    """Import an entry's module and pick its class. Raises LoadFailed."""
    path, _, name = entry.partition(":")
    try:
        return choose(_import(files, path), files.shown(path), name)
    except PipelineRefused as error:
        raise LoadFailed(_error(error, files.shown(path), error.line)) from error


def load_all(files: Files, entry: str) -> tuple[str, list[type[Pipeline]]]:
    """Import an entry's module and give all its pipelines. Raises LoadFailed."""
    path = entry.partition(":")[0] or "pipeline.py"
    try:
        return path, pipelines_of(_import(files, path), files.shown(path))
    except PipelineRefused as error:
        raise LoadFailed(_error(error, files.shown(path), error.line)) from error


def refused(files: Files, path: str, error: PipelineRefused) -> LoadFailed:
    """Turn a refused declaration into what the host is told."""
    return LoadFailed(_error(error, files.shown(path), error.line))


def misspelt(files: Files, path: str, line: int, name: str) -> dict[str, Any]:
    """Say that `step` has no call of a name, and which one it might be."""
    import difflib

    file, near = files.shown(path), difflib.get_close_matches(name, CALLS, 1)
    remedy = f"Did you mean {near[0]!r}?" if near else f"Known are: {', '.join(CALLS)}."
    message = f"{file}:{line}: step has no call {name!r}. {remedy}"
    return {"type": "AttributeError", "message": message, "traceback": "", "file": file, "line": line}


def _import(files: Files, path: str) -> ModuleType:
    if path not in files.files:
        raise LoadFailed(
            _plain("PipelineRefused", f"There is no {files.shown(path)}. Add one, for example with `stepwell init`.")
        )
    _refuse_shadows(files)
    _close_search_path()
    sys.meta_path.insert(0, files)
    try:
        return importlib.import_module(path.removesuffix(".py").replace("/", "."))
    except SyntaxError as error:
        raise LoadFailed(_syntax_error(error)) from error
    except ImportError as error:
        raise LoadFailed(_import_error(files, error)) from error
    except BaseException as error:  # a module may raise anything, SystemExit too
        raise LoadFailed(_error(error, *_place(files, error))) from error


def _refuse_shadows(files: Files) -> None:
    for path in files.files:
        top, _, rest = path.partition("/")
        name = top if rest else top.removesuffix(".py")
        if path.endswith(".py") and (name in sys.stdlib_module_names or name in ("stepwell", "__main__")):
            raise LoadFailed(_plain(
                "PipelineRefused",
                f"{files.shown(path)} has the name of a module of {'Stepwell' if name == 'stepwell' else 'Python'}, "
                f"so `import {name}` would not find it. Rename the file.",
            ))  # fmt: skip


def _close_search_path() -> None:
    library = os.path.dirname(os.__file__)  # noqa: PTH120 - pathlib is not loaded otherwise
    sys.path[:] = [
        path for path in sys.path
        if (path == library or path.startswith(library + "/") or path.endswith(".zip")) and "-packages" not in path
    ]  # fmt: skip


def _syntax_error(error: SyntaxError) -> dict[str, Any]:
    place = f"{error.filename}:{error.lineno}"
    described = _error(error, str(error.filename), error.lineno)
    described["message"] = f"{place}: {error.msg}. Correct the line."
    return described


def _import_error(files: Files, error: ImportError) -> dict[str, Any]:
    described = _error(error, *_place(files, error))
    if isinstance(error, ModuleNotFoundError):
        beside = f"the files beside it in {files.root}/" if files.root else "the files beside it"
        described["message"] = (
            f"{described['file']}:{described['line']}: there is no module {error.name!r}. run() sees the standard "
            f"library, stepwell, and {beside}. Use other packages inside a step: "
            'step.run(name, command, tools=["package==version"]).'
        )
    return described


def _error(error: BaseException, file: str | None, line: int | None) -> dict[str, Any]:
    return {**describe_error(error), "file": file, "line": line}


def _plain(type_: str, message: str) -> dict[str, Any]:
    return {"type": type_, "message": message, "traceback": "", "file": None, "line": None}


def _place(files: Files, error: BaseException) -> tuple[str | None, int | None]:
    place: tuple[str | None, int | None] = (None, None)
    frame = error.__traceback__
    while frame is not None:
        if frame.tb_frame.f_code.co_filename in files.names:
            place = (frame.tb_frame.f_code.co_filename, frame.tb_lineno)
        frame = frame.tb_next
    return place
