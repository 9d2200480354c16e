"""A verb is its function: its signature reads the overrides, its docstring is the help."""

import importlib
import inspect
import os
import pty
import re
import subprocess
import sys
import termios
from contextlib import suppress
from typing import get_args

import pytest
from conftest import CHECKOUT

from src.__main__ import USAGE, main
from src.config import shell as ours
from src.config.shell import call, read, verbs
from src.system.errors import UserError

FUNCTIONS = {
    verb: getattr(importlib.import_module(f"src.{verb}"), verb) for verb in verbs() if verb != "train"
}


def tried(name: str, *changes: str, code: str = "now", trust: bool = False, n: int | None = None, data=None):
    """Do nothing with `name`.

    python -m src.tried name=t7
    """
    if name == "t0":
        raise UserError("no run t0")
    if name == "t1":
        raise KeyboardInterrupt
    return name, changes, code, trust, n, data


def only(file: str | None = None):
    return file


@pytest.mark.parametrize(
    ("typed", "result"),
    [
        (["name=t7"], ("t7", (), "now", False, None, None)),
        (["model.lr=1", "name=t7", "n=3", "trust=true"], ("t7", ("model.lr=1",), "now", True, 3, None)),
        (["name=true", "code=null", "n=null", "trust=False"], ("true", (), "null", False, None, None)),
        (["name=a=b", "data=x"], ("a=b", ("data=x",), "now", False, None, None)),  # data: notebooks only
    ],
)
def test_overrides_become_arguments(typed, result):
    bound = read(tried, typed)
    assert tried(*bound.args, **bound.kwargs) == result


@pytest.mark.parametrize(
    ("function", "typed", "sentence"),
    [
        (tried, [], "name is required: python -m src.tried name=..."),
        (tried, ["name=t7", "n=x"], "n=x: should be a whole number"),
        (tried, ["name=t7", "trust=yes"], "trust=yes: should be true or false"),
        (only, ["fiel=x"], "'fiel=x' is unknown: did you mean file?; write key=value with a key of file"),
        (only, ["x"], "'x' is unknown"),
    ],
)
def test_wrong_overrides_are_one_sentence(function, typed, sentence):
    with pytest.raises(UserError, match=re.escape(sentence)):
        read(function, typed)


def test_null_is_none_only_for_a_number():
    assert read(tried, ["name=t7", "n=null"]).arguments["n"] is None
    assert read(only, ["file=null"]).arguments == {"file": "null"}


TEXTS = [
    (verb, name)
    for verb, function in FUNCTIONS.items()
    for name, one in inspect.signature(function).parameters.items()
    if one.annotation is not one.empty and str in (get_args(one.annotation) or (one.annotation,))
    and one.kind is not one.VAR_POSITIONAL
]  # fmt: skip


@pytest.mark.parametrize("text", ["true", "null", "1", "1e3", "[a]", ""])
@pytest.mark.parametrize(("verb", "name"), TEXTS)
def test_text_of_a_verb_is_taken_as_it_is_typed(verb, name, text):
    needed = [f"{other}=t7" for of, other in TEXTS if of == verb and other != name]
    assert read(FUNCTIONS[verb], [*needed, f"{name}={text}"]).arguments[name] == text


@pytest.mark.parametrize(
    ("typed", "code", "shown"),
    [
        (["name=t0"], 1, "error: no run t0\n"),
        (["name=t1"], 130, ""),
        (["name=t7", "n=x"], 2, "error: n=x: should be a whole number\n"),
        (["--help"], 0, "Do nothing with `name`.\n\npython -m src.tried name=t7\n"),
    ],
)
def test_exit_codes(monkeypatch, capsys, typed, code, shown):
    monkeypatch.setattr("sys.argv", ["tried", *typed])
    with pytest.raises(SystemExit) as end:
        call(tried)
    assert end.value.code == code
    assert "".join(capsys.readouterr()) == shown


def test_what_the_verb_returns_is_returned(monkeypatch):
    monkeypatch.setattr("sys.argv", ["only", "file=x"])
    assert call(only) == "x"


@pytest.mark.parametrize("verb", FUNCTIONS)
def test_help_names_every_parameter_and_its_examples_are_read(verb):
    text = inspect.getdoc(FUNCTIONS[verb])
    typed = [one for one in inspect.signature(FUNCTIONS[verb]).parameters]
    assert re.findall(r"^(\w+) : ", text, re.MULTILINE) == typed
    examples = re.findall(rf"^python -m src\.{verb}\b(.*)$", text, re.MULTILINE)
    assert examples
    for example in examples:
        read(FUNCTIONS[verb], example.split())


@pytest.mark.parametrize("width", [60, 80, 200])
@pytest.mark.parametrize("verb", ["src", "train", *FUNCTIONS])
def test_help_fits_the_terminal(verb, width, monkeypatch, capsys):
    """No word is lost, no line is wider but a command, no code for colours is sent."""
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr("sys.argv", [verb, "--help"])
    if verb == "train":
        ours.show(ours.wrapped(ours.help_text()))
        text = ours.help_text()
    elif verb == "src":
        main()
        text = "\n".join([USAGE, *(f"{name} {line}" for name, line in verbs().items())])
    else:
        with pytest.raises(SystemExit):
            call(FUNCTIONS[verb])
        text = inspect.getdoc(FUNCTIONS[verb]).replace("``", "")
    printed = capsys.readouterr().out
    assert printed.split() == text.split() and "\x1b" not in printed
    wide = [line for line in printed.splitlines() if len(line) > min(width, 100)]
    words = 4 if width < 80 else 0  # of a line that holds a long key
    assert all(re.match(r" *(python|zcat) ", line) or len(line.split()) < words for line in wide), wide
    commands = re.findall(r"^ *(?:python|zcat) .*$", text, re.MULTILINE)
    assert [line for line in printed.splitlines() if line in commands] == commands
    parameters = re.findall(r"^\w+ : ", text, re.MULTILINE)
    assert re.findall(r"^\w+ : ", printed, re.MULTILINE) == parameters


def test_help_in_a_terminal_of_60_columns():
    """The width is that of the terminal; NO_COLOR or not, there is no code for colours."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 60))
    environment = {key: value for key, value in os.environ.items() if key != "COLUMNS"}
    command = [sys.executable, "-m", "src.resume", "--help"]
    with subprocess.Popen(command, cwd=CHECKOUT, env=environment, stdin=theirs, stdout=theirs) as process:
        os.close(theirs)
        text = b""
        with suppress(OSError):  # Linux says so when the other end is closed
            while part := os.read(ours, 1 << 16):
                text += part
    os.close(ours)
    lines = text.decode().splitlines()
    assert process.returncode == 0 and 50 < max(map(len, lines)) <= 60 and b"\x1b" not in text


def test_the_notebook_has_the_verbs_function():
    import src

    assert src.replay_train is FUNCTIONS["replay"]


def test_a_flag_stands_anywhere(shell):
    done = shell("train", "model=mlp", "--multirun", "seed=0,x")
    says = "error: seed=x: should be a whole number between 0 and 2147483647\n"
    assert (done.returncode, done.stderr) == (2, says)


@pytest.mark.parametrize("verb", ["src", "src.train --help", "src.resume --help", "src.clean"])
def test_a_reader_that_has_read_enough_is_no_error(outputs, verb):
    """``python -m src | head -1``: the pipe is closed before anything is written."""
    command = [sys.executable, "-m", *verb.split()]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=CHECKOUT, **pipes) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0
