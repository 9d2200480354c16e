"""What arguments a class takes, read from its source: importing scikit-learn or torch to check a word costs seconds."""

import ast
import importlib.util
from functools import lru_cache
from pathlib import Path


def arguments(dotted: str) -> set[str] | None:
    """Names of the arguments of ``dotted``'s ``__init__``; None where they cannot be told (``**kwargs``, C code)."""
    module, _, name = dotted.rpartition(".")
    return _of_class(module, name)


def exists(dotted: str) -> bool | None:
    """Whether the module's source names the class; None where there is no source to look at."""
    module, _, name = dotted.rpartition(".")
    tree = _tree(module)
    if tree is None:
        return None if _installed(module) else False
    return _find(module, name) is not None


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module.partition(".")[0]) is not None
    except (ImportError, ValueError):
        return False


def _of_class(module: str, name: str) -> set[str] | None:
    found = _find(module, name)
    if found is None or not isinstance(found[1], ast.ClassDef):
        return None
    module, node = found
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            if item.args.kwarg or item.args.vararg:
                return None
            return {a.arg for a in (*item.args.posonlyargs, *item.args.args, *item.args.kwonlyargs)} - {"self"}
    bases = (_of_class(module, base.id) for base in node.bases if isinstance(base, ast.Name))
    return next((names for names in bases if names is not None), None)


def _find(module: str, name: str):
    """(module, node) where ``name`` is defined, imports followed."""
    tree = _tree(module)
    for node in tree.body if tree else ():
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            return module, node
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _find(_absolute(module, node), alias.name)
    return None


def _absolute(module: str, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module
    parts = module.split(".") if _path(module).name == "__init__.py" else module.split(".")[:-1]
    parts = parts[: len(parts) - (node.level - 1)]
    return ".".join([*parts, node.module] if node.module else parts)


@lru_cache
def _tree(module: str):
    path = _path(module)
    return ast.parse(path.read_text(encoding="utf-8")) if path else None


def _path(module: str) -> Path | None:
    """The source file of ``module``, found without importing its parents."""
    top, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None or not spec.origin:
        return None
    if not rest:
        return Path(spec.origin) if spec.origin.endswith(".py") else None
    for root in spec.submodule_search_locations or ():
        stem = Path(root).joinpath(*rest)
        for path in (stem / "__init__.py", stem.with_suffix(".py")):
            if path.is_file():
                return path
    return None
