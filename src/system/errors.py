"""The one exception for errors that the user can fix, and how its sentence is made."""

import difflib
import errno
import functools
import logging
import os
import re
from urllib.parse import quote, quote_plus, unquote

log = logging.getLogger("reprise")  # the only logger: shell.py shows its lines, log.txt keeps them
SECRET = "pass(word|wd)|pwd|token|secret|api_?key|access_?key|credential|signature"  # in names of values


class UserError(Exception):
    """An error that the user can fix: shown as one sentence, without a traceback.

    Line breaks and control characters, which names may hold, are made harmless; each of ``lines`` is a line.
    """

    code = 1  # exit code of the shell; 2 where an override is wrong
    run = None  # the run that failed by it, t7

    def __init__(self, text: str, lines: tuple[str, ...] = ()):
        super().__init__("\n".join(map(printable, [" ".join(without_password(str(text)).split()), *lines])))

    def _render_traceback_(self) -> list[str]:
        """Show a notebook, which asks for this method, one sentence instead of a traceback."""
        return [f"error: {sentence(self)}"]


def printable(text: str, keep: str = "") -> str:
    """Return ``text`` with its control characters written out, as ``\\x1b``, but those in ``keep``.

    A name from a file can hold the codes with which a terminal moves its cursor or deletes lines.
    """
    shown = []
    for sign in text:
        shown.append(sign if sign.isprintable() or sign in keep else sign.encode("unicode_escape").decode())
    return "".join(shown)


NOTE = 25  # the level of lines that also a sweep shows of its jobs: between INFO and WARNING


class Lines(logging.Formatter):
    """Formats messages for console and log: only their own line breaks stay as they are, and no password."""

    name = ""  # begins each line

    def format(self, record: logging.LogRecord) -> str:
        text = printable(without_password(super().format(record)), keep="\n")
        return text if text.startswith(self.name) else self.name + text.replace("\n", f"\n{self.name}")


def sentence(error: Exception) -> str:
    """Return the text of a `UserError`, what the system refused and where, or another error and its kind.

    Lines follow that name the ``places`` of the user's own code, see `src.system.code.point_out`.
    """
    if not isinstance(error, OSError) or hasattr(error, "places"):
        text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        return "\n".join([text, *getattr(error, "places", ())])
    if is_full(error):
        return "the disk is full: free some space, for example with python -m src.clean remove=t3,t5-t9"
    where = f"{error.filename}: " if error.filename else ""
    return printable(f"{where}{error.strerror or error}")


def is_full(error: BaseException) -> bool:
    """Return whether a disk or a quota is full: no other job of a sweep would end better."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def is_told(error: BaseException) -> bool:
    """Return whether a user sees an error as a sentence, without its traceback."""
    return isinstance(error, UserError | OSError) or hasattr(error, "places")


def without_password(text: str) -> str:
    """Return ``text`` with *** for logins in addresses, for ``?token=...`` and for `secrets`.

    A password may hold any sign, also raw: in a line, all between :// and the last @ counts as the login.
    """
    for secret in sorted(secrets(tuple(os.environ.items())), key=len, reverse=True):
        text = text.replace(secret, "***")
    text = re.sub(r"://(?!/)[^\n]*@", "://***@", text)
    return re.sub(rf"(?i)([?&;][\w.-]*(?:{SECRET})[\w.-]*=)[^&;\s'\"]*", r"\1***", text)


def holds_password(text: str) -> bool:
    """Return whether ``text`` is an address that holds a password or a key; a name alone is none."""
    login, _, place = text.partition("://")[2].rpartition("@")
    return ":" in login or without_password(place) != place


@functools.lru_cache(1)  # each line of a log asks
def secrets(environment: tuple) -> set[str]:
    """Return the passwords and keys in environment variables, also in addresses, raw and in percent code.

    Shorter ones than six characters are left out: they would also hide plain words.
    """
    found = set()
    for name, value in environment:
        if re.search(SECRET, name, re.IGNORECASE) and not os.path.exists(value):  # PWD is a folder
            found.add(value)
        login = value.partition("://")[2].rpartition("@")[0]
        if ":" in login:
            found |= {login, login.partition(":")[2]}
    for code in (unquote, quote, quote_plus):
        found |= set(map(code, found))
    return {one for one in found if len(one) >= 6}


def one_line(error: BaseException) -> str:
    """Return an error's text, and its cause's first line, as a short line without passwords, or its kind."""
    cause = [line for line in str(error.__cause__ or "").splitlines()[:1] if line not in str(error)]
    text = " ".join(without_password(f"{error} {' '.join(cause)}").split()) or type(error).__name__
    return text if len(text) <= 400 else f"{text[:200]} ... {text[-195:]}"


def nearest(word: str, known, others: dict[str, str] | None = None) -> str:
    """Return ": did you mean model.lr?", by the whole key or by its last part; "" if nothing is similar.

    others : names in ``known`` and what other libraries call them: {"trainer.max_epochs": "epochs n_epochs"}
    """
    word, last = word.lower(), word.lower().rpartition(".")[2]
    whole = {key.lower(): key for key in reversed(list(known))}
    parts = {key.rpartition(".")[2]: whole[key] for key in whole}
    meant = [ours for ours, theirs in (others or {}).items() if last in theirs.split() and ours in known]
    near = whole.get(word) or parts.get(last) or next(iter(meant), None)
    for names, text, cutoff in ((whole, word, 0.75), (parts, last, 0.6), (whole, word, 0.5)):
        found = [] if near else difflib.get_close_matches(text, names, n=1, cutoff=cutoff)
        near = names[found[0]] if found else near
    return f": did you mean {near}?" if near else ""
