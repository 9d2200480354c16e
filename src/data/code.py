"""The code of functions and classes and of all that they use: a digest, and a text that is a module."""

import ast
import builtins
import cmath
import contextlib
import hashlib
import inspect
import linecache
import symtable
import sys
import textwrap
from pathlib import Path
from types import FunctionType, ModuleType

from src.system.code import is_own
from src.system.errors import UserError


class Closure:
    """The code of ``values`` and, transitively, of the functions, classes and constants that they name.

    user : who uses all this, in messages
    library : a module of the project's that the text imports from, instead of holding its code
    digest : 16 hex digits over the syntax of all of it: comments, docstrings and spacing do not count
    text : a module that defines the values as they are now
    """

    def __init__(self, *values, user: str = "the ETL", library: str | None = None):
        self.definitions: dict[str, tuple[str, str, str]] = {}  # name -> (identity, syntax, text)
        self.imports: dict[str, str] = {}
        self.user, self.library = user, library
        for value in values:
            if not isinstance(value, FunctionType | type):
                kind = type(value).__name__
                raise UserError(f"{user} should be written with def or class, it is a {kind}")
            self._add(value.__name__, value)
        whole = sorted(f"{name}={syntax}" for name, (_, syntax, _) in self.definitions.items())
        whole += sorted(self.imports.values())
        self.digest = hashlib.blake2b("\n".join(whole).encode(), digest_size=8).hexdigest()
        lines = ["from __future__ import annotations", *sorted(set(self.imports.values()))]
        lines += [f"\n\n{text}" for _, _, text in self.definitions.values()]
        self.text = "\n".join(lines) + "\n"

    def _add(self, name: str, value) -> None:
        """Add a function or class of the project, and what its source names."""
        if value.__name__ != name:
            raise UserError(f"{value.__name__} is called {name} where {self.user} uses it: use its own name")
        node, text = _source(value)
        identity = f"{value.__module__}.{value.__qualname__}"
        self._define(name, identity, syntax(ast.unparse(node)), text, node, _scope(value), value.__module__)

    def _define(self, name: str, identity: str, syntax: str, text: str, *inner) -> None:
        """Add a definition and what ``inner`` (see `_follow`) takes; refuse two things of one name."""
        if name not in self.definitions:
            self.definitions[name] = (identity, syntax, text)
            if inner:
                self._follow(*inner)
                self.definitions[name] = self.definitions.pop(name)  # below what it needs
        elif self.definitions[name][0] != identity:
            raise UserError(f"{self.user} uses two different things called {name}: rename one")

    def _follow(self, node: ast.AST, scope: dict, module: str) -> None:
        """Add everything that ``node`` takes from outside."""
        self._refuse_inner_imports(node, module)
        for name in sorted(_free_names(node)):
            if name not in scope or scope[name] is getattr(builtins, name, scope):
                continue
            value = scope[name]
            origin, original = getattr(value, "__module__", None), getattr(value, "__name__", None)
            if isinstance(value, ModuleType):
                if self._inlined(original):
                    self._refuse_module(node, name, value)
                self.imports[name] = f"import {original} as {name}"
            elif isinstance(inspect.unwrap(value), FunctionType | type) and self._inlined(origin):
                self._add(name, value)
            elif origin and original:
                self.imports[name] = f"from {origin} import {original} as {name}"
            else:
                self._add_constant(name, value, module)

    def _add_constant(self, name: str, value, module: str) -> None:
        """Add a plain value as its repr, another one as its assignment at the top of the module."""
        try:
            text = f"{name} = {_stable(value)}"
        except TypeError:
            node = _assignment(module, name)
            if node is None:
                kind = type(value).__name__
                raise UserError(f"{self.user} uses {name}, a {kind}: pass it as an argument") from None
            scope = vars(sys.modules[module])
            text = ast.unparse(node)
            self._define(name, module, syntax(text), text, node.value, scope, module)
        else:
            self._define(name, text, text, text)

    def _inlined(self, module: str) -> bool:
        """Return whether the text holds the code of a module's functions, instead of importing them."""
        return is_own(module) and module.partition(".")[0] != self.library

    def _refuse_inner_imports(self, node: ast.AST, module: str) -> None:
        for item in ast.walk(node):
            names = []
            if isinstance(item, ast.Import):
                names = [alias.name for alias in item.names]
            elif isinstance(item, ast.ImportFrom):
                names = ["." * item.level + (item.module or "")]
            for name in names:
                if name.startswith(".") or self._inlined(name):
                    where = f"within a function of {self.user}"
                    raise UserError(f"{module} imports {name} {where}: import it at the top")

    def _refuse_module(self, node: ast.AST, name: str, value: ModuleType) -> None:
        """Refuse ``pack.helpers.clean`` of a project's module ``pack``, and say which import to write."""
        path = name
        while isinstance(value, ModuleType):
            owner = value
            attributes = (item for item in ast.walk(node) if isinstance(item, ast.Attribute))
            used = [item.attr for item in attributes if ast.unparse(item.value) == path]
            if not used:
                used_as = f"{self.user} uses the module {owner.__name__} as a value"
                raise UserError(f"{used_as}: import functions from it")
            path, value = f"{path}.{used[0]}", getattr(owner, used[0], None)
        raise UserError(f"{self.user} uses {path}: write `from {owner.__name__} import {used[0]}`")


def _free_names(node: ast.AST) -> set[str]:
    """Return the names that a function or class takes from outside: no arguments, nothing that it assigns."""
    tables, symbols = [symtable.symtable(ast.unparse(node), "?", "exec")], []
    for table in tables:  # grows while it is read, by the functions within
        tables += table.get_children()
        symbols += table.get_symbols()
    return {symbol.get_name() for symbol in symbols if symbol.is_global() and symbol.is_referenced()}


def load_function(text: str, name: str):
    """Return the function ``name`` that a recorded text defines."""
    module = sys.modules["recorded_etl"] = ModuleType("recorded_etl")  # dataclasses look their module up
    file = f"<recorded {name} {hashlib.blake2b(text.encode(), digest_size=4).hexdigest()}>"
    linecache.cache[file] = (len(text), None, text.splitlines(True), file)  # tracebacks show its lines
    exec(compile(text, file, "exec"), vars(module))
    return getattr(module, name)


def _source(value):
    """Return the syntax tree and the text of a function or class."""
    try:
        text = textwrap.dedent(inspect.getsource(value))
    except (OSError, TypeError):
        text = _cell_source(value)
    try:
        node = ast.parse(text).body[0]
    except SyntaxError:
        raise UserError(f"{value.__name__} has no source (a lambda?): write it with def") from None
    if not isinstance(node, ast.FunctionDef | ast.ClassDef):
        raise UserError(f"{value.__name__} is not written with def or class: it must be")
    return node, ast.unparse(node) if node.decorator_list else text.rstrip()


def _cell_source(value) -> str:
    """Return the source of what was typed and `inspect` does not find: a class in a cell, on Python 3.11."""
    typed = _typed()
    codes = [getattr(item, "__code__", None) for item in (value, *vars(value).values())]
    files = [code.co_filename for code in codes if code]  # the cell that was run last may not be the newest
    for file in [name for name in files if name in typed] or reversed(typed):
        with contextlib.suppress(SyntaxError):  # a magic command
            for node in reversed(ast.parse(typed[file]).body):
                if getattr(node, "name", None) == value.__name__:
                    return ast.unparse(node)
    raise UserError(f"no source of {value.__name__} is found: define it in a file or in a cell")


def _typed() -> dict[str, str]:
    """Return {file name: text} of a notebook's cells and of ``python -c``."""
    found = {"<string>": sys.orig_argv[sys.orig_argv.index("-c") + 1]} if sys.argv[0] == "-c" else {}
    for file, entry in linecache.cache.items():
        if len(entry) == 4 and (file.startswith("<") or "ipython" in file or "ipykernel" in file):
            found[file] = "".join(entry[2])  # a shorter entry: not read yet
    return found


def syntax(text: str | bytes) -> str:
    """Return the tree of a text without its docstrings, as text again: comments and spacing do not count."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        documented = isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef)
        if documented and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree)


def _scope(value) -> dict:
    """Return the names that a function or class sees from outside: its module's, and its closure's."""
    if isinstance(value, type):
        return vars(sys.modules[value.__module__])
    value = inspect.unwrap(value)  # a decorator may stand in another module
    free = zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
    return value.__globals__ | {name: cell.cell_contents for name, cell in free}


def _assignment(module: str, name: str):
    """Return the statement ``name = ...`` at the top of a module's file; None where there is none."""
    path = getattr(sys.modules.get(module), "__file__", None) or ""
    body = ast.parse(Path(path).read_text(encoding="utf-8")).body if path.endswith(".py") else []
    for node in reversed(body):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            return node
    return None


def _stable(value) -> str:
    """Return the repr of a plain value, the same in every process; raise TypeError for other values."""
    kind = type(value)
    if kind is dict:
        return "{" + ", ".join(f"{_stable(key)}: {_stable(item)}" for key, item in value.items()) + "}"
    if kind in (set, frozenset):
        return f"{kind.__name__}([{', '.join(sorted(map(_stable, value)))}])"
    if kind is list:
        return f"[{', '.join(map(_stable, value))}]"
    if kind is tuple:
        return f"({', '.join(map(_stable, value))}{',' if len(value) == 1 else ''})"
    if kind in (int, str, bytes, bool, type(None)) or (kind in (float, complex) and cmath.isfinite(value)):
        return repr(value)
    raise TypeError  # nan would not read back
