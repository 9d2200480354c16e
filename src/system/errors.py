"""The one exception for a user's mistakes, and how its sentence is made."""

import difflib
import re


class UserError(Exception):
    """A mistake that its maker can mend: shown as one sentence, without a traceback.

    Names of columns and classes in it may hold line breaks, which are shown as spaces.
    """

    code = 1  # exit code of the shell; 2 where an override is wrong
    run = None  # the run that failed by it, t7

    def __init__(self, text: str, lines: tuple[str, ...] = ()):
        super().__init__("\n".join([" ".join(str(text).split()), *lines]))


def without_password(text: str) -> str:
    """``text`` with the user and password of every URL in it as ***."""
    return re.sub(r"://[^/@\s]*@", "://***@", text)


def one_line(error: BaseException) -> str:
    """Return an error's text, and its cause's first line, as one line without passwords."""
    cause = str(error.__cause__ or "").splitlines()[:1]
    return without_password(" ".join(f"{error} {' '.join(cause)}".split()))[:400]


def nearest(word: str, known) -> str:
    """ ": did you mean model.lr?", by the whole key or by its last part, where something is near."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.75)
    if not near:
        last = {key.rpartition(".")[2]: key for key in reversed(list(known))}
        near = [last[name] for name in difflib.get_close_matches(word.rpartition(".")[2], last, n=1, cutoff=0.6)]
    if not near:
        near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f": did you mean {near[0]}?" if near else ""
