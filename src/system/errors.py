"""The one exception for errors that the user can fix, and how its sentence is made."""

import difflib
import re


class UserError(Exception):
    """An error that the user can fix: shown as one sentence, without a traceback.

    Line breaks, which names of columns and classes may hold, become spaces; ``lines`` are added as they are.
    """

    code = 1  # exit code of the shell; 2 where an override is wrong
    run = None  # the run that failed by it, t7

    def __init__(self, text: str, lines: tuple[str, ...] = ()):
        super().__init__("\n".join([" ".join(str(text).split()), *lines]))


def without_password(text: str) -> str:
    """Return ``text`` with *** for the user and password of each URL in it."""
    return re.sub(r"://[^/@\s]*@", "://***@", text)


def one_line(error: BaseException) -> str:
    """Return an error's text, and its cause's first line, as one line without passwords."""
    cause = str(error.__cause__ or "").splitlines()[:1]
    return without_password(" ".join(f"{error} {' '.join(cause)}".split()))[:400]


def nearest(word: str, known) -> str:
    """Return ": did you mean model.lr?", by the whole key or by its last part; "" if nothing is similar."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.75)
    if not near:
        last = {key.rpartition(".")[2]: key for key in reversed(list(known))}
        found = difflib.get_close_matches(word.rpartition(".")[2], last, n=1, cutoff=0.6)
        near = [last[name] for name in found]
    if not near:
        near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f": did you mean {near[0]}?" if near else ""
