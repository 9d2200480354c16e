"""The code that a run recorded: its files, and which of those that it uses are others today."""

import ast
import zipfile

from src.run.folder import BrokenRun, Run
from src.run.own import named_code
from src.system.code import code_files
from src.system.errors import one_line
from src.system.notebook import NAME

ROOMS = ("data", "dataset", "metric", "model", "trainer")  # what results depend on


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
    """Return the files that the run's training uses and whose code is another one today.

    These are the modules that the config names, the reader of the dataset and the trainer, and what they
    import of the user's own modules and of `ROOMS`. Comments, docstrings and spacing do not count.
    """
    model, dataset = run.cfg["model"], run.cfg["dataset"]
    names = [name for name in named_code(run.cfg) if not NAME.match(name)]  # their content names those
    old, new = files_of(run), {name: path.read_bytes() for name, path in code_files(names).items()}
    start = [*names, "src.data.load", f"src.dataset.{dataset.get('reader') or dataset['name']}"]
    start.append(f"src.trainer.{'net' if 'net' in model else 'estimator'}")
    used = _imported(old, start) | _imported(new, start)
    return [name for name in sorted(used) if _syntax(old.get(name)) != _syntax(new.get(name))]


def _imported(files: dict[str, bytes], names: list[str]) -> set[str]:
    """Return those of ``files`` that hold the dotted ``names``, and what they import, directly or not."""
    found, waiting = set(), list(names)
    while waiting:
        parts = waiting.pop().split(".")
        for n in range(1, len(parts) + 1):
            place = "/".join(parts[:n])
            for file in {f"{place}.py", f"{place}/__init__.py"} & files.keys() - found:
                if parts[0] != "src" or file.split("/")[1] in ROOMS:
                    found.add(file)
                    waiting += _imports(files[file], file)
    return found


def _imports(text: bytes, file: str) -> list[str]:
    """Return the dotted names that a file imports; none of a file that is not Python any more."""
    names = []
    for node in ast.walk(_tree(text)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = file.split("/")[: -node.level] if node.level else []  # from .pieces import ...
            names += [".".join([*above, *filter(None, [node.module]), alias.name]) for alias in node.names]
    return names


def _tree(text: bytes) -> ast.Module:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError):
        return ast.Module([ast.Constant(text)], [])


def _syntax(text: bytes | None) -> str | None:
    """Return a file's code as text, without docstrings; None where there is no file."""
    if text is None:
        return None
    tree = _tree(text)
    for node in ast.walk(tree):
        if isinstance(getattr(node, "body", None), list):
            node.body = [one for one in node.body if not _is_text(one)]
    return ast.dump(tree)


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
