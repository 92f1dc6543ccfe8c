"""Loading a strategy: source bytes in, a checked `Definition` or its problems out. The one importer of strategies.

The bytes may come from a work tree or from git. Each version is a module of its own under a private name, so that
two live side by side; nothing is put on `sys.path`, no `.pyc` is written, and a strategy can import installed
packages but no other file of its folder.
"""

from __future__ import annotations

import builtins
import copyreg
import importlib.util
import linecache
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib.machinery import ModuleSpec
from pathlib import PurePath, PurePosixPath
from types import FrameType, ModuleType
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, cast

from reconciler.clock import Clock, SystemClock
from reconciler.errors import Problem, ReconcilerError
from reconciler.records.snapshot import engine_fault
from reconciler.strategy.definition import Definition, ModuleSource, inspect_module, parse
from reconciler.visible import said

if TYPE_CHECKING:
    from importlib.abc import Loader

IMPORT_DEADLINE_S = 30.0
"""Where nobody says otherwise; `runtime.import_deadline_seconds` does."""

Result: TypeAlias = "Definition | tuple[Problem, ...]"

_INSTALLED_ONLY = (
    "strategies import installed packages only, never another file of their folder: put what they share in a package"
)


class Version(NamedTuple):
    """The source of one strategy. `path` is what problems and tracebacks say; `digest`, the git blob id, tells
    versions apart.
    """

    strategy_type: str
    source: bytes
    path: str
    digest: str


Around: TypeAlias = Callable[[Version], AbstractContextManager[object]]
"""What is entered on the thread that imports a version, for as long as that takes."""


def load(
    strategy_type: str,
    source: bytes,
    path: str,
    digest: str,
    *,
    deadline_s: float = IMPORT_DEADLINE_S,
    clock: Clock | None = None,
) -> Result:
    """The definition in `source`, or every problem that keeps it from being one. Never raises for what is in it.

    The import runs on a daemon thread of its own and is given up after `deadline_s`.
    """
    version = Version(strategy_type, source, path, digest)
    return load_all([version], deadline_s=deadline_s, clock=clock)[0]


def load_all(
    versions: Sequence[Version], *, deadline_s: float = IMPORT_DEADLINE_S, clock: Clock | None = None
) -> list[Result]:
    """As `load`, for each version, in order; `deadline_s` is for all of them together.

    Each has a share of the first half for itself, then the next begins beside it: those that hang delay the
    others little, and the rest are imported one by one, which is the order that libraries are tested in.
    """
    clock = clock or SystemClock()
    until_s = clock.monotonic() + deadline_s
    attempts = [ImportAttempt(version) for version in versions]
    for attempt in attempts:
        attempt.begin()
        clock.wait(attempt.done, deadline_s / 2 / len(attempts))
    return [
        attempt.result
        if clock.wait(attempt.done, max(0.0, until_s - clock.monotonic()))
        else (attempt.give_up(deadline_s),)
        for attempt in attempts
    ]


def reloaded(strategy_type: str, source: bytes, path: str, digest: str) -> Definition:
    """The definition that was sent here as its source. Raises ReconcilerError where it cannot be loaded here."""
    found = load(strategy_type, source, path, digest)
    if not isinstance(found, Definition):
        raise ReconcilerError("; ".join(map(str, found)))
    return found


def _sent(definition: Definition) -> tuple[Callable[..., Definition], tuple[str, bytes, str, str]]:
    one = definition
    return reloaded, (one.strategy_type, one.source, one.path, one.code_digest)


copyreg.pickle(Definition, _sent)


def forget(definition: Definition) -> None:
    """Drop a version that nothing runs any more from `sys.modules`. Instances still running on it are unharmed."""
    module = sys.modules.get(definition.cls.__module__)
    if module is not None and definition.cls in vars(module).values():
        _drop(module)


class SiblingImport(ImportError):
    """A strategy tried to import another file of its folder."""


class ImportAttempt:
    """One import, on its own thread. `result` is there once `done` is set; `ended` is called then, on that thread.

    `is_final` where trying again can come to nothing else: it is the source, not the moment.
    """

    def __init__(self, version: Version, ended: Callable[[], object] = bool, around: Around = nullcontext) -> None:
        self._around = around
        self.done = threading.Event()
        self.result: Result = ()
        self.is_final = True
        self._ended = ended
        self._version = version
        self._thread = threading.Thread(target=self._run, name=f"import {version.strategy_type}", daemon=True)
        self._source: ModuleSource
        self._module: ModuleType

    def begin(self) -> None:
        """Parse, and start to import. A boundary: what the engine itself fails on becomes this one's problem."""
        strategy_type, data, path, digest = self._version
        try:
            source = parse(path, f"{path}@{digest[:8]}", data)
            if isinstance(source, ModuleSource):
                spec = ModuleSpec(
                    f"_reconciler_strategy_{strategy_type}_{digest}",
                    cast("Loader", _Loader(source)),
                    origin=source.filename,
                )
                spec.has_location = True
                self._source, self._module = source, importlib.util.module_from_spec(spec)
                self._thread.start()
                return
            problem = source
        except Exception as error:  # noqa: BLE001 - one definition must not stop the others
            problem = engine_fault(path, error)
        self.result = (problem,)
        self.done.set()
        self._ended()

    def _run(self) -> None:
        """The boundary: whatever the author's code does while it is imported and looked at becomes a problem."""
        sys.modules[self._module.__name__] = self._module
        try:
            with self._around(self._version):
                _Loader(self._source).exec_module(self._module)
            self.result = inspect_module(self._module, self._source, self._version.strategy_type, self._version.digest)
        except BaseException as error:  # noqa: BLE001 - sys.exit and KeyboardInterrupt in it must not end the engine
            self.result = (_import_problem(self._source, error),)
            self.is_final = isinstance(error, SiblingImport)
        finally:
            if not isinstance(self.result, Definition):
                _drop(self._module)
            self.done.set()
            self._ended()

    def give_up(self, deadline_s: float) -> Problem:
        """Leave an import that hangs, saying where it was; a loop in Python ends at its next instruction."""
        problem = self.hangs(deadline_s)
        self._end()
        _drop(self._module)
        return problem

    def end_own_loop(self) -> None:
        """End it at its next instruction where that is the strategy's own, and not a library's."""
        frame = self._frame()
        if frame is not None and frame.f_code.co_filename == self._source.filename:
            self._end()

    def hangs(self, deadline_s: float) -> Problem:
        """That it is over its deadline, and where it is."""
        frame = self._frame()
        while frame is not None and frame.f_code.co_filename != self._source.filename:
            frame = frame.f_back
        at = (frame.f_lineno, 1) if frame is not None else (1, 1)
        return self._source.problem(
            at,
            "",
            f"expected the import to end within {deadline_s:g} s, was still running here",
            rule="code-import-hangs",
            hint="do nothing while being imported; waiting and fetching belong in init or on_tick. Where a library or "
            "a slow disk takes that long, raise runtime.import_deadline_seconds",
        )

    def _frame(self) -> FrameType | None:
        return None if self.done.is_set() else sys._current_frames().get(self._thread.ident or 0)

    def _end(self) -> None:
        import ctypes  # rarely needed, and not quick to import

        thread_id = ctypes.c_ulong(self._thread.ident or 0)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(thread_id, ctypes.py_object(SystemExit))


class _Loader:
    """Serves one module from its source, which tracebacks and `inspect` then find too."""

    def __init__(self, source: ModuleSource) -> None:
        self._source = source

    def get_source(self, fullname: str) -> str:
        return self._source.text

    def create_module(self, spec: ModuleSpec) -> None:
        """The usual kind of module will do."""

    def exec_module(self, module: ModuleType) -> None:
        guard = _ImportGuard(PurePosixPath(self._source.path).parent)
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": guard}
        exec(self._source.code, module.__dict__)


class _ImportGuard:
    """`__import__` as a strategy sees it: installed packages yes, files of its own folder no.

    Without it, `import dca` works or not depending on the current directory and on how the engine was started.
    """

    def __init__(self, folder: PurePath) -> None:
        self._folder = folder.parts
        self._allowed: set[str] = set()

    def __call__(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        top = name.partition(".")[0]
        if level or (top not in self._allowed and self._is_sibling(top)):
            written = f"{'.' * level}{name}"
            raise SiblingImport(f"{written!r} is a file of {'/'.join(self._folder) or 'the same folder'}", name=name)
        self._allowed.add(top)
        return builtins.__import__(name, globals, locals, fromlist or (), level)

    def _is_sibling(self, top: str) -> bool:
        if not self._folder:
            return False
        if top == self._folder[-1]:
            return True
        try:
            spec = importlib.util.find_spec(top)
        except (ImportError, ValueError):
            return False
        places = [spec.origin or "", *(spec.submodule_search_locations or ())] if spec is not None else []
        return any(self._is_inside(PurePath(place)) for place in places)

    def _is_inside(self, place: PurePath) -> bool:
        folder = place.parent.parts
        return folder[-len(self._folder) :] == self._folder


def _import_problem(source: ModuleSource, error: BaseException) -> Problem:
    at = source.raised_at(error.__traceback__)
    told = said(error)
    match error:
        case SiblingImport():
            return source.problem(
                at, "", f"expected an installed package, {error}", rule="code-import-sibling", hint=_INSTALLED_ONLY
            )
        case ModuleNotFoundError(name=str(name)):
            return source.problem(
                at,
                "",
                f"expected {name!r} to be installed, was not found: {told}",
                rule="code-import",
                hint=f"install it where the engine runs; {_INSTALLED_ONLY}",
            )
        case ImportError(name=name):
            return source.problem(
                at, "", f"expected to import from {name or 'a module'}, was refused: {told}", rule="code-import"
            )
        case SystemExit():
            return source.problem(
                at, "", f"expected to be imported, was ended by {told}", rule="code-exit", hint="remove the exit"
            )
        case _:
            return source.problem(at, "", f"expected to be imported, was ended by {told}", rule="code-exception")


def _drop(module: ModuleType) -> None:
    if sys.modules.get(module.__name__) is module:
        del sys.modules[module.__name__]
    linecache.cache.pop(module.__file__ or "", None)
