"""The code of one function with everything of the project that it uses: as a digest, and as a text that runs alone."""

import ast
import builtins
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

PLAIN = (int, float, complex, str, bytes, bool, type(None), tuple, list, dict, set, frozenset)


class Closure:
    """What a function stands on: its own code, and, transitively, the functions, classes and constants that it names.

    Attributes
    ----------
    digest : str
        16 hex digits over the syntax of all of it: comments, docstrings and spacing do not count.
    text : str
        a module that defines the function as it is now.

    Raises
    ------
    UserError
        where a source cannot be had, or two things share a name.
    """

    def __init__(self, function: FunctionType):
        self.definitions: dict[str, tuple[str, str, str]] = {}  # name -> (where, syntax, text)
        self.imports: dict[str, str] = {}
        self.spaces: dict[str, set[str]] = {}  # name of a project's module -> what is used of it
        if not isinstance(function, FunctionType):
            raise UserError(f"an ETL must be a plain function written with def, not a {type(function).__name__}")
        self._add(function.__name__, function)
        whole = sorted(f"{name}={syntax}" for name, (_, syntax, _) in self.definitions.items())
        whole += sorted(self.imports.values())
        self.digest = hashlib.blake2b("\n".join(whole).encode(), digest_size=8).hexdigest()
        self.text = self._text()

    def _text(self) -> str:
        lines = ["from __future__ import annotations", *sorted(set(self.imports.values()))]
        if self.spaces:
            lines.append("from types import SimpleNamespace")
        lines += [f"\n\n{text}" for _, _, text in self.definitions.values()]
        made = set()
        for name, used in sorted(self.spaces.items()):  # pack before pack.helpers
            parts = name.split(".")
            for i in range(1, len(parts)):
                if (outer := ".".join(parts[:i])) not in made:
                    made.add(outer)
                    lines.append(f"{outer} = SimpleNamespace()")
            made.add(name)
            lines.append(f"{name} = SimpleNamespace({', '.join(f'{x}={x}' for x in sorted(used))})")
        return "\n".join(lines) + "\n"

    def _add(self, name: str, value) -> None:
        """Take a function or class of the project, and what its source names."""
        if value.__name__ != name:
            raise UserError(f"{value.__name__} is called {name} where the ETL uses it: use its own name")
        node, text = _source(value)
        where = f"{value.__module__}.{value.__qualname__}"
        if name in self.definitions:
            if self.definitions[name][0] != where:
                raise UserError(f"the ETL uses two different things called {name}: rename one")
            return
        self.definitions[name] = (where, _syntax(node), text)  # now: it may name itself
        self._follow(node, _scope(value), value.__module__)
        self.definitions[name] = self.definitions.pop(name)  # after what it needs

    def _follow(self, node: ast.AST, scope: dict, module: str) -> None:
        attributes = {}
        for item in ast.walk(node):
            dotted = _dotted(item)
            if len(dotted) > 1:
                attributes.setdefault(dotted[0], set()).add(dotted[1:])
            inside = [item.module or "."] if isinstance(item, ast.ImportFrom) else []
            inside = [alias.name for alias in item.names] if isinstance(item, ast.Import) else inside
            for other in inside:
                if other.startswith(".") or getattr(item, "level", 0) or is_own(other):
                    raise UserError(f"{module} imports {other} inside a function of the ETL: import it at the top")
        for name in sorted(_free_names(node)):
            if name in scope and not (hasattr(builtins, name) and scope[name] is getattr(builtins, name)):
                self._take(name, scope[name], attributes.get(name, set()), module)

    def _take(self, name: str, value, attributes: set, module: str) -> None:
        if isinstance(value, ModuleType):
            if not is_own(value.__name__):
                self.imports[name] = f"import {value.__name__} as {name}"
                return
            whole = [x for x in attributes if not any(y[: len(x)] == x and y != x for y in attributes)]
            for dotted in sorted(whole):
                owner, path = value, [name]
                for attribute in dotted:  # pack.helpers.clean: down to what is no module
                    path, inner = [*path, attribute], getattr(owner, attribute)
                    if not isinstance(inner, ModuleType):
                        break
                    owner = inner
                if isinstance(inner, ModuleType):
                    raise UserError(f"the ETL uses the module {inner.__name__} as a value: name what it takes of it")
                self.spaces.setdefault(".".join(path[:-1]), set()).add(path[-1])
                self._take(path[-1], inner, set(), owner.__name__)
        elif isinstance(value, FunctionType | type) or isinstance(getattr(value, "__wrapped__", None), FunctionType):
            if is_own(value.__module__):
                self._add(name, value)
            else:
                self.imports[name] = f"from {value.__module__} import {value.__name__} as {name}"
        elif _is_plain(value):
            self._constant(name, value, module)
        elif getattr(value, "__module__", None) and getattr(value, "__name__", None):  # a builtin of a library
            self.imports[name] = f"from {value.__module__} import {value.__name__} as {name}"
        else:
            self._constant(name, value, module)

    def _constant(self, name: str, value, module: str) -> None:
        """A value at a module's top: its assignment's syntax, or its repr in a notebook."""
        node = _assignment(module, name)
        if node is None and not _is_plain(value):
            raise UserError(f"the ETL uses {name}, a {type(value).__name__}: pass it as an argument")
        if node is not None and not _is_plain(value):
            text, syntax = ast.unparse(node), _syntax(node)
            known = self.definitions.get(name)
            if known is None:
                self.definitions[name] = (module, syntax, text)
                self._follow(node.value, vars(sys.modules[module]), module)
                self.definitions[name] = self.definitions.pop(name)
            return
        text = f"{name} = {_stable(value)}"
        if name in self.definitions and self.definitions[name][2] != text:
            raise UserError(f"the ETL uses two different things called {name}: rename one")
        self.definitions[name] = (module, text, text)


def _is_plain(value) -> bool:
    """Whether `_stable` writes the value so that it can be read again anywhere."""
    if type(value) in (list, tuple, set, frozenset):
        return all(map(_is_plain, value))
    if type(value) is dict:
        return all(map(_is_plain, (*value, *value.values())))
    return type(value) in PLAIN and not (
        isinstance(value, float | complex) and repr(value).strip("-") in ("nan", "inf")
    )


def _dotted(node) -> tuple:
    """("pack", "helpers", "clean") of pack.helpers.clean; () where it does not begin with a name."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return (node.id, *reversed(parts)) if parts and isinstance(node, ast.Name) else ()


def _free_names(node) -> set:
    """Names that a function or class takes from outside: not its arguments, nor what it assigns."""
    table = symtable.symtable(ast.unparse(node), "?", "exec")
    found = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_referenced()}
    waiting = table.get_children()
    while waiting:
        inner = waiting.pop()
        found |= {symbol.get_name() for symbol in inner.get_symbols() if symbol.is_global() and symbol.is_referenced()}
        waiting += inner.get_children()
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        found |= {node.name} & {item.id for item in ast.walk(node) if isinstance(item, ast.Name)}
    return found


def load(text: str, name: str):
    """The function ``name`` that a recorded text defines."""
    module = sys.modules["recorded_etl"] = ModuleType("recorded_etl")  # dataclasses look their module up
    scope = vars(module)
    file = f"<recorded {name} {hashlib.blake2b(text.encode(), digest_size=4).hexdigest()}>"
    linecache.cache[file] = (len(text), None, text.splitlines(True), file)  # so that tracebacks show its lines
    exec(compile(text, file, "exec"), scope)
    return scope[name]


def _source(value):
    """(syntax tree node, text) of a function or class."""
    try:
        text = textwrap.dedent(inspect.getsource(value))
    except (OSError, TypeError):
        text = _cell_source(value)
    try:
        node = ast.parse(text).body[0]
    except SyntaxError:
        raise UserError(f"{value.__name__} has no source of its own (a lambda?): write it with def") from None
    if not isinstance(node, ast.FunctionDef | ast.ClassDef):
        raise UserError(f"{value.__name__} is not written with def: an ETL must be a plain function")
    return node, ast.unparse(node) if node.decorator_list else text.rstrip()


def _cell_source(value) -> str:
    """The source of a class in a notebook's cell, which `inspect` does not find on Python 3.11."""
    for file, (_, _, lines, _) in reversed([item for item in linecache.cache.items() if len(item[1]) == 4]):
        if "ipython" in file or file.startswith("<"):
            try:
                tree = ast.parse("".join(lines))
            except SyntaxError:
                continue
            for node in tree.body:
                if getattr(node, "name", None) == value.__name__:
                    return ast.unparse(node)
    raise UserError(f"the source of {value.__name__} cannot be had: define it in a file or in a cell")


def _syntax(node: ast.AST) -> str:
    """The tree as text, docstrings left out."""
    node = ast.parse(ast.unparse(node))
    for item in ast.walk(node):
        body = getattr(item, "body", None)
        if isinstance(item, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(item, clean=False) is not None:
            item.body = body[1:] or [ast.Pass()]
    return ast.dump(node)


def _scope(value) -> dict:
    """Names that a function or class sees from outside: its module's, and its closure's."""
    if isinstance(value, type):
        return vars(sys.modules[value.__module__])
    value = value if isinstance(value, FunctionType) else inspect.unwrap(value)
    free = zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
    return value.__globals__ | {name: cell.cell_contents for name, cell in free}


def _assignment(module: str, name: str):
    """The statement ``name = ...`` at the top of a module's file; None where there is none."""
    path = getattr(sys.modules.get(module), "__file__", None)
    if not path or not path.endswith(".py"):
        return None
    found = None
    for node in ast.parse(Path(path).read_text(encoding="utf-8")).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            found = node
    return found


def _stable(value) -> str:
    """repr with sets in order, so that it is the same in every process."""
    if isinstance(value, set | frozenset):
        inner = ", ".join(sorted(map(_stable, value)))
        return f"{type(value).__name__}([{inner}])"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_stable(key)}: {_stable(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple) and type(value) in (list, tuple):
        inner = ", ".join(map(_stable, value))
        return f"[{inner}]" if isinstance(value, list) else f"({inner}{',' if len(value) == 1 else ''})"
    return repr(value)
