"""Run a verb from the shell: its signature is its command line, its docstring its help."""

import ast
import inspect
import logging
import os
import re
import shutil
import sys
import textwrap
from contextlib import contextmanager
from pathlib import Path
from types import NoneType
from typing import get_args

from src.config.own import expand, for_hydra
from src.config.tree import CONF, GROUPS, add_own, choices
from src.config.typed import spelled
from src.system.errors import NOTE, Lines, UserError, is_told, nearest, printable, sentence, without_password
from src.system.paths import CHECKOUT

USED = {  # most used keys of each section, shown by the help of train
    "dataset/_base": ("target", "task", "val_size", "max_rows"),
    "model/_torch": ("lr", "batch_size", "schedule", "patience"),
    "trainer/default": ("max_epochs", "accelerator", "devices"),
}


REFUSED = {  # flags of Hydra's that would be left out of account, or make a run that cannot be opened
    "config_name": "the config is conf/train.yaml; write experiment=mine for conf/experiment/mine.yaml",
    "config_path": "the config is in conf/; --config-dir DIR adds groups of yours, such as DIR/experiment/",
    "experimental_rerun": "write python -m src.replay run=t7",
}


def arguments():
    """Read train's command line, flags anywhere; ``sys.argv`` becomes what Hydra's own reading takes."""
    from hydra._internal.utils import get_args_parser

    parser = get_args_parser()
    parser.error = lambda text: refuse(text, 2)
    args = parser.parse_intermixed_args()
    for flag, advice in REFUSED.items():
        if getattr(args, flag) is not None:
            raise UserError(f"--{flag.replace('_', '-')} is not for Reprise: {advice}")
    if args.config_dir:
        add_own(args.config_dir)
    flags = list(sys.argv[1:])
    for word in args.overrides:
        flags.remove(word)
    args.overrides = expand(spelled(args.overrides, args.multirun))
    own_class = any(".class=" in word for word in args.overrides)  # also --cfg shows its new arguments
    sys.argv[1:] = [*flags, *(for_hydra(args.overrides) if own_class else args.overrides)]
    return args


def call(function):
    """Run a verb with the overrides of the command line and return what it returns.

    A wrong override is exit code 2, another `UserError` 1, Ctrl-C 130.
    """
    if {"-h", "--help"} & set(sys.argv[1:]):
        show(wrapped(inspect.getdoc(function).replace("``", "")))
        sys.exit(0)
    try:
        bound = read(function, sys.argv[1:])
    except UserError as error:
        refuse(error, 2)
    return run(function, *bound.args, **bound.kwargs)


def show(text: str, file=None) -> None:
    """Print text whose names of columns or files may hold control characters: these are written out."""
    put(printable(without_password(text), keep="\n"), file)


def wrapped(text: str) -> str:
    """Return a help text in lines of the terminal's width, or of 80 columns, each below its explanation."""
    text = re.sub(r"(?<=\S)\n( {4,}|(?! |\n|\S+ : |python |zcat ))(?=\S)", " ", text)  # one line a paragraph
    options, lines = {"break_long_words": False, "break_on_hyphens": False}, []
    width = min(shutil.get_terminal_size().columns, 100)
    for line in text.splitlines():
        below = " " * re.match(r" *(\S+ : |\S.{,40}? {2,})?", line).end()
        whole = "python -m" in line and "   " not in line  # a command is copied
        lines += [line] if whole else textwrap.wrap(line, width, subsequent_indent=below, **options) or [""]
    return "\n".join(lines)


def put(text: str, file=None) -> bool:
    """Print text; return False to a reader that has read enough, such as ``| head``: it is no error."""
    stream = file or sys.stdout
    try:
        print(text, file=stream, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return False
    return True


def run(function, *args, **options):
    """Call ``function``; an error that `is_told` is a sentence and an exit code, Ctrl-C is 130."""
    console()
    try:
        return function(*args, **options)
    except Exception as error:
        if not is_told(error):
            raise
        refuse(sentence(error), getattr(error, "code", 1))
    except KeyboardInterrupt:
        sys.exit(130)


def refuse(error, code: int) -> None:
    """Exit with ``code`` and one sentence on stderr."""
    show(f"error: {error}", sys.stderr)
    sys.exit(code)


def console(stream=None) -> None:
    """Show the project's messages on stdout, or ``stream``; a second call changes nothing but the stream."""
    log = logging.getLogger("reprise")
    known = [handler for handler in log.handlers if type(handler) is logging.StreamHandler]
    for handler in known if stream else ():
        handler.setStream(stream)
    if not known:
        handler = logging.StreamHandler(stream or sys.stdout)
        handler.setFormatter(Lines())
        log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    logging.raiseExceptions = False  # a closed pipe (| head) does not disturb a run


@contextmanager
def of_job(name: str | None):
    """Show only notes and warnings of the block, a sweep's job, and begin each line with ``name``; None: all.

    The run's log.txt has every line.
    """
    handlers = [one for one in logging.getLogger("reprise").handlers if type(one) is logging.StreamHandler]
    before = [(one.formatter.name, one.level) for one in handlers]  # a fold is within a job
    try:
        for handler in handlers if name else ():
            handler.formatter.name = f"{name}  "
            handler.setLevel(NOTE)
        yield
    finally:
        for handler, (prefix, level) in zip(handlers, before, strict=True):
            handler.formatter.name = prefix
            handler.setLevel(level)


def read(function, overrides: list[str]) -> inspect.BoundArguments:
    """Return the arguments of ``function`` that ``key=value`` overrides give.

    A parameter without annotation is for notebooks only; ``*changes`` takes overrides that name no parameter.
    """
    signature = inspect.signature(function)
    typed = {name: one for name, one in signature.parameters.items() if one.annotation is not one.empty}
    changes = next((name for name, one in typed.items() if one.kind is one.VAR_POSITIONAL), None)
    typed.pop(changes, None)
    values = {changes: ()} if changes else {}
    for override in overrides:
        key, equals, text = override.partition("=")
        name = key.replace(".", "_")  # dataset.path=my.csv is the argument dataset_path
        if equals and name in typed:
            values[name] = _convert(key, text, typed[name].annotation)
        elif changes:
            values[changes] += (override,)
        else:
            known = f"{nearest(key, list(typed))}; write key=value with a key of {', '.join(typed)}"
            raise UserError(f"{override!r} is unknown{known}")
    for name, one in typed.items():
        if one.default is one.empty and name not in values:
            raise UserError(f"{name} is required: python -m src.{function.__name__} {name}=...")
    return inspect.BoundArguments(signature, values)


def _convert(key: str, text: str, annotation):
    """Return ``text`` as the annotation says: str, int, bool, or one of them or None; null is text, too."""
    kinds = get_args(annotation) or (annotation,)
    if str in kinds:
        return text
    if NoneType in kinds and text == "null":
        return None
    if bool in kinds and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if int in kinds and text.isdecimal() and len(text) < 20:
        return int(text)
    raise UserError(f"{key}={text}: should be {'true or false' if bool in kinds else 'a whole number'}")


def verbs() -> dict[str, str]:
    """Return {name: first line of its docstring} of the files in ``src/`` but rerun.py, which runs start."""
    found = {}
    for path in sorted(set((CHECKOUT / "src").glob("[!_]*.py")) - {CHECKOUT / "src/rerun.py"}):
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        found[path.stem] = text.partition("\n")[0].replace("``", "")
    return found


def help_text() -> str:
    """Return the help of train: groups and their choices, the most used keys, the other verbs."""
    lines = [
        "Train one model on one dataset, or many with --multirun.", "",
        "  python -m src.train model=mlp dataset=sst2 model.lr=3e-4",
        "  python -m src.train model=hist_gb dataset=my.csv dataset.target=price",
        "  python -m src.train --multirun model=mlp,hist_gb seed=0,1",
    ]  # fmt: skip
    for group in GROUPS:
        lines += ["", f"{group}="]
        lines += [f"  {name:20} {headline(CONF / group / f'{name}.yaml')}" for name in choices(group)]
    lines += ["", "keys used most; --cfg job prints all:"]
    for name, keys in {"train": None, **USED}.items():
        section = "" if keys is None else f"{name.partition('/')[0]}."
        for line in (CONF / f"{name}.yaml").read_text().splitlines():
            default, _, comment = line.partition("#")
            key = default.partition(":")[0]
            if key in (keys or ()) or (keys is None and key.isidentifier() and comment):
                lines.append(f"  {section + default.strip():30} {comment.strip()}".rstrip())
    lines += ["", "other verbs, each with --help:"]
    lines += [f"  {name:12} {text}" for name, text in verbs().items() if name != "train"]
    lines += ["", "Hydra: --multirun (-m), --cfg job, --resolve; hydra/launcher=joblib: jobs in parallel."]
    return "\n".join(lines)


def headline(path: Path) -> str:
    """Return the first sentence of a yaml's opening comment."""
    lines = [line[1:].strip() for line in path.read_text().splitlines() if line.startswith("#")]
    return next(line for line in lines if not line.startswith("@package"))
