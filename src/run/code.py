"""The code that a run recorded: its files, and which of those that it uses are others today."""

import zipfile
from contextlib import suppress
from modulefinder import ModuleFinder

from src.data.code import syntax
from src.run.folder import BrokenRun, Run
from src.run.own import named_code
from src.system.code import code_files
from src.system.errors import one_line
from src.system.notebook import NAME

ROOMS = ("data", "dataset", "metric", "model", "trainer")  # what results depend on
OTHERS = [f"src.{room}" for room in ("config", "logger", "run", "share", "study", "system")]


def files_of(run: Run) -> dict[str, bytes]:
    """Return {name: content} of a run's recorded code."""
    try:
        with zipfile.ZipFile(run.folder / "code.zip") as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    except Exception as error:  # a damaged zip can raise anything
        raise BrokenRun(run.name, f"code.zip cannot be read: {one_line(error)}") from None


def changed_files(a: Run, b: Run) -> list[str]:
    """Return the names of files in which the two runs' recorded code differs."""
    old, new = files_of(a), files_of(b)
    return [name for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]


def changed_since(run: Run) -> list[str]:
    """Return the files of code that the run's training uses and that are others today.

    These are the modules that the config names, the reader of the dataset and the trainer, and what they
    import of the user's own modules and of `ROOMS`. Comments, docstrings and spacing do not count.
    """
    model, dataset = run.cfg["model"], run.cfg["dataset"]
    names = [name for name in named_code(run.cfg) if not NAME.match(name)]  # their content names those
    old, new = files_of(run), code_files(names)
    modules = [name.rpartition(".")[0] for name in names] + ["src.data.load"]
    modules += [f"src.dataset.{dataset.get('reader') or dataset['name']}"]
    modules += [f"src.trainer.{'net' if 'net' in model else 'estimator'}"]
    roots = {str(path).removesuffix(name): None for name, path in new.items()}
    finder = ModuleFinder(list(roots), excludes=[*OTHERS, "hydra_plugins"])
    for module in modules:
        # an installed one, one that the resume will name, or a folder without __init__.py
        with suppress(ImportError, SyntaxError, AttributeError):
            finder.import_hook(module)
    used = {module.__file__ for module in finder.modules.values()}
    ours = {name for name, path in new.items() if str(path) in used}
    ours = [name for name in sorted(ours) if name[:4] != "src/" or name.split("/")[1] in ROOMS]
    return [name for name in ours if _syntax(old.get(name, b"")) != _syntax(new[name].read_bytes())]


def _syntax(text: bytes) -> str:
    try:
        return syntax(text)
    except (SyntaxError, ValueError):  # of a run that was received
        return str(text)
