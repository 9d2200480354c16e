"""The code that a run is made with: which modules are the user's own, and a snapshot of them."""

import functools
import importlib.util
import io
import linecache
import sys
import traceback
import zipfile
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from src.system.errors import UserError, one_line, sentence
from src.system.files import replacing
from src.system.notebook import NAME
from src.system.paths import CHECKOUT

NOTEBOOK = ("__main__", "recorded_etl")  # typed into a notebook, or a recorded ETL: modules without a file
MAX_PLACES = 5  # of the user's code in an error's message


def is_own(module_name: str) -> bool:
    """Return whether a module, imported or not, is the user's own: not Python's and not installed."""
    top = module_name.partition(".")[0]
    if top == "src" or top in NOTEBOOK:
        return True
    place = _place(top)
    if not place or top in sys.stdlib_module_names or "-packages" in place:
        return False
    path = Path(place)
    folder = path.parent.parent if path.name == "__init__.py" else path.parent
    return not any(folder.glob("*.dist-info"))  # pip install --target puts packages into any folder


def _place(module_name: str) -> str:
    """Return a module's file, or the folder of a package without ``__init__.py``; "" for neither."""
    module = sys.modules.get(module_name)
    if module is not None:
        return getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", ())), "")
    try:
        spec = importlib.util.find_spec(module_name)
    except (ImportError, ValueError):
        return ""
    return "" if spec is None else spec.origin or next(iter(spec.submodule_search_locations or ()), "")


def locate(dotted: str):
    """Import and return what a dotted name stands for."""
    module, _, name = dotted.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except Exception as error:  # a module of the user's may raise anything
        raise UserError(f"{dotted} cannot be imported: {one_line(error)}", places(error, {module})) from None


def needed(package: str, extra: str, what: str) -> ModuleType:
    """Import and return a package that ``what`` needs, of an extra in pyproject.toml."""
    try:
        return importlib.import_module(package)
    except ImportError:
        raise UserError(f"{what} needs {package}: pip install -e '.[{extra}]' -c constraints.txt") from None


def places(error: BaseException, modules=()) -> tuple[str, ...]:
    """Return where the user's own code raised ``error``, a line each; ``modules`` of src/ are the user's."""
    found = []
    for frame, number in traceback.walk_tb(error.__traceback__):
        module, code = frame.f_globals.get("__name__") or "", frame.f_code
        if module in modules or (is_own(module) and module.partition(".")[0] != "src"):
            file, line = Path(code.co_filename), linecache.getline(code.co_filename, number).strip()
            cell = NAME.fullmatch(module) or file.match("ipykernel_*/*.py") or file.name == "<string>"
            where = "notebook" if cell else f"{file.name}, line {number}"
            found.append(f"  {where}, in {code.co_qualname}: {line}".rstrip(": "))
    return tuple(found[-MAX_PLACES:])


def point_out(error: BaseException, modules=()) -> None:
    """Have an error that the user's own code raised shown as a sentence and its places there.

    Its kind stays, and so does its traceback, which log.txt keeps.
    """
    found = () if isinstance(error, UserError) else places(error, modules)  # it says itself what is wrong
    found = found or (error.__cause__ and places(error.__cause__, modules))
    if found:
        error.places = found
        error._render_traceback_ = lambda: [f"error: {sentence(error)}"]  # a notebook asks for it


@contextmanager
def stand_in(name: str, **attributes):
    """Let the block import an empty module ``name`` in place of a real one that is slow and not needed."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = ModuleType(name)
    vars(sys.modules[name]).update(attributes)
    try:
        yield
    finally:
        del sys.modules[name]


def code_files(names=()) -> dict[str, Path]:
    """Return {path in the archive: file} of ``src/`` and ``conf/`` as they are now.

    names : dotted names in the config; the user's own modules among them are kept, too
    """
    files = {}
    for folder, suffix in (("src", "*.py"), ("conf", "*.yaml")):
        for file in (CHECKOUT / folder).rglob(suffix):
            files[file.relative_to(CHECKOUT).as_posix()] = file
    for top in {name.partition(".")[0] for name in names} - {"src", *NOTEBOOK}:
        if is_own(top):
            files |= _files_of(top)
    return files


def snapshot_code(path: Path, names=()) -> None:
    """Write the `code_files` into a zip; the same files give the same bytes."""
    files = sorted(code_files(names).items())
    with replacing(path) as temporary:
        temporary.write_bytes(_packed(tuple((name, file, file.stat().st_ctime_ns) for name, file in files)))


@functools.lru_cache(1)  # for the next runs of this process: 5 ms instead of 25
def _packed(files: tuple) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, file, _ in files:
            archive.writestr(zipfile.ZipInfo(name), file.read_bytes(), zipfile.ZIP_DEFLATED)  # without a date
    return content.getvalue()


def _files_of(top: str) -> dict[str, Path]:
    """Return {path in the archive: file} of a module's file, or of a package's folder."""
    place = Path(_place(top)).resolve()
    if place.suffix == ".py" and place.name != "__init__.py":
        return {place.name: place}
    folder = place.parent if place.suffix == ".py" else place
    return {f"{top}/{inner.relative_to(folder).as_posix()}": inner for inner in folder.rglob("*.py")}
