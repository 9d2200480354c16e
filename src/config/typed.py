"""Overrides as people type them to overrides as Hydra reads them: names with signs, files as datasets."""

import re
from contextlib import suppress

from src.config.tree import GROUPS, choices, parse, quoted
from src.system.errors import UserError
from src.system.tables import SUFFIXES, find_table, is_fasta, is_parquet, is_table

NAMES = [f"dataset.{key}" for key in ("target", "id", "weight", "split", "group", "positive")]
TEXTS = [f"dataset.read.{key}" for key in ("separator", "encoding", "decimal", "thousands")]
TEXTS += ["sweep.storage", "model.net.vectors", "dataset.header"]
TEXTS += ["dataset.labels", "dataset.bed", "dataset.pretrained"]
LISTS = [f"dataset.{key}" for key in ("numeric", "dates", "categorical", "text", "ignore")]
LISTS += ["dataset.read.na_values", "dataset.read.parse_dates"]
FIRST = "|".join([*GROUPS, "seed", "threads", "metric", "metric_mode", "class_weight", "tags", "hydra"])


def spelled(words, multirun: bool = False) -> list[str]:
    """Return overrides in Hydra's grammar; what it has read before comes back as it is.

    A name, a path or a list of names is quoted as it was typed where Hydra would read something else.
    A comma separates values only in a multirun.

    >>> spelled(["dataset.target=price (EUR)", "dataset.ignore=id", "seed=1"])
    ["dataset.target='price (EUR)'", 'dataset.ignore=[id]', 'seed=1']
    """
    words = list(words)
    if not all(isinstance(word, str) for word in words):
        return words  # `parse` refuses them
    _refuse_bare(words)
    return [one for word in words for one in _spelled(word, multirun)]


def _refuse_bare(words: list[str]) -> None:
    """Refuse ``mlp wine`` and several overrides in one string, with what to type instead."""
    bare, meant = [word for word in words if "=" not in word], []
    for word in bare:
        groups = [group for group in GROUPS if word in choices(group)]
        groups += ["dataset"] if word.endswith(SUFFIXES) else []
        meant += [f"{group}={word}" for group in groups[:1]]
    if bare and len(meant) == len(bare):
        raise UserError(f"{' '.join(bare)}: write {' '.join(meant)}")
    for word in words:
        parts = re.split(rf"\s+(?=\+*(?:{FIRST})(?:[./]\w+)*=)", word.strip())
        if len(parts) > 1 and not re.match(r"[^=]*=\s*['\"]", word):
            each = ", ".join(map(repr, parts))
            raise UserError(f"{word!r} holds several overrides: write each by itself, {each}")


def _spelled(word: str, multirun: bool) -> list[str]:
    if re.match(r"\+*class_weight[.]", word) and not _reads(word):
        name, _, value = word.partition(".")[2].rpartition("=")
        raise UserError(f'{word}: write "class_weight={{{quoted(name)}: {value}}}"')
    key, equals, value = word.partition("=")
    if not equals:
        return [word]
    key = re.sub(r"^(\+*dataset)\.separator$", r"\1.read.separator", key)  # its name until 2026-11
    plain = key.lstrip("+")
    if plain in GROUPS and multirun and value.startswith("glob(") and _reads(word, sweep=True):
        named = parse(word).value().filter(choices(plain))  # Hydra's own glob also finds _base
        if not named:
            raise UserError(f"{word} matches none of {', '.join(choices(plain))}")
        return [f"{key}={','.join(named)}"]
    if plain == "dataset":
        return _dataset(key, value, multirun) or [word]
    spell = _weights if plain == "class_weight" else _names if plain in LISTS else _name
    if spell is _name and plain not in (*NAMES, *TEXTS, "dataset.path"):
        return [word]
    if "${" in value and _reads(word):
        return [word]
    if multirun and value != "," and not ("(" in value and _reads(word, sweep=True)):
        return [f"{key}={','.join(spell(plain, one) for one in split(value))}"]
    return [f"{key}={spell(plain, value)}"]


def _reads(word: str, sweep: bool = False) -> bool:
    """Return whether Hydra reads an override, of a sweep such as choice(a,b) if that is asked."""
    with suppress(UserError):
        override = parse(word)
        return not sweep or override.is_sweep_override()
    return False


def _name(key: str, text: str) -> str:
    """Return a name, quoted unless Hydra reads it as it is; numbers and null stay where they fit."""
    try:
        value = parse(f"{key}={text}").value()
    except UserError:
        return quoted(text.replace("${", r"\${"))
    fits = isinstance(value, str)
    fits |= key in (*NAMES, *LISTS) and type(value) is int and str(value) == text  # the column 0
    fits |= key in (*NAMES, *TEXTS) and key != "dataset.target" and value is None
    fits |= key == "dataset.target" and type(value) is list  # refused later: several targets
    fits |= key == "dataset.positive" and str(value).lower() == text.lower()  # true, 1.5
    fits &= text[-1:] != "\\" and bool(text.strip() or not text)  # a tab
    fits &= key != "dataset.header" or text[:1] in "'\"" or value in (None, text)  # Hydra reads \( as (
    return text if fits else quoted(text)


def _names(key: str, text: str) -> str:
    """Return a list of names; one name becomes a list of one."""
    text = text.strip()
    if text in ("null", "[]") or (key == "dataset.dates" and text.startswith("{")):  # with formats
        return text
    if text.startswith("[") and text.endswith("]"):
        return f"[{','.join(_name(key, one.strip()) for one in split(text[1:-1]))}]"
    if len(split(text)) > 1:
        raise UserError(f"{key}={text}: write '{key}=[{text}]', or, for one name, \"{key}=[{quoted(text)}]\"")
    return f"[{_name(key, text)}]"


def _dataset(key: str, value: str, multirun: bool) -> list[str] | None:
    """Return the overrides of ``dataset=my.csv``; None where it names no file."""
    several = list(map(_unquoted, split(value)))
    known = [one in choices("dataset") for one in several]
    files = several if multirun else [_unquoted(value)]
    if all(known) or not any(map(is_table, files)):
        return None
    if multirun and any(known):
        raise UserError(f"dataset={value} names datasets and files: sweep over them in two commands")
    try:
        found = list(map(find_table, files))
    except UserError:
        if multirun or len(several) == 1 or not all(map(is_table, several)):
            raise
        raise UserError(f"dataset={value} names several files: add --multirun") from None
    readers = {"parquet": is_parquet, "fasta": is_fasta}
    reader = next((name for name, fits in readers.items() if all(map(fits, found))), "csv")
    return [f"{key}={reader}", f"dataset.path={','.join(_name('dataset.path', file) for file in files)}"]


def split(text: str) -> list[str]:
    """Split at the commas outside of quotes and brackets; if these are not closed, at all commas.

    >>> split("a, f(b, c), 'd,e'"), split("a (, b")
    (['a', ' f(b, c)', " 'd,e'"], ['a (', ' b'])
    """
    parts, depth, quote, start = [], 0, "", 0
    for i, sign in enumerate(text):
        if quote:
            quote = "" if sign == quote and text[i - 1] != "\\" else quote
        elif sign in "'\"" and not text[start:i].strip(" [{"):
            quote = sign
        elif sign in "([{":
            depth += 1
        elif sign in ")]}":
            depth -= 1
        elif sign == "," and not depth:
            parts, start = [*parts, text[start:i]], i + 1
    return text.split(",") if depth or quote else [*parts, text[start:]]


def _unquoted(text: str) -> str:
    text = text.strip()
    return parse(f"key={text}").value() if re.fullmatch(r"(['\"]).*\1", text) else text


# -- class_weight: a dict of Hydra's takes no name such as <=50K; one that has it goes as text


def _weights(key: str, text: str) -> str:
    """Return a dict of weights as it is if Hydra reads its names as they were typed, else as text."""
    if not re.fullmatch(r"\s*{.*}\s*", text):
        return text
    with suppress(UserError):
        read, typed = parse(f"{key}={text}").value(), weights(text)
        if [*map(str, read)] == [*typed] or any(isinstance(name, bool) for name in read):
            return text
    return quoted(text)


def weights(value):
    """Return class_weight as a dict where it went through Hydra as text.

    >>> weights("{<=50K: 1, 'a, b': 2.5}")
    {'<=50K': 1, 'a, b': 2.5}
    """
    if not (isinstance(value, str) and value.startswith("{")):
        return value
    parts = [part.rpartition(":") for part in split(value[1:-1])]
    return {_unquoted(name): parse(f"key={number.strip()}").value() for name, _, number in parts}
