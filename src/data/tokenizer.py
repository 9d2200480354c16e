"""Text and sequences to token numbers, with a vocabulary learned from the training rows only."""

import re
import unicodedata
from collections import Counter
from functools import cache, partial
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from src.data import letters, pieces
from src.data.cells import Rows, as_array, as_text
from src.data.words import CHINESE, CUTTERS, KINDS, THAI
from src.system.errors import UserError

PAD, UNKNOWN = 0, 1  # token numbers; the vocabulary starts at 2
SPECIAL = ["[CLS]", "[SEP]"]  # 2 and 3 where dataset.special_tokens asks for them
CELLS = 1 << 20  # of the matrix of token numbers that are filled at once
LETTERS = 1 << 26  # that are read at once; an array above 32 MB goes back to the system when it is dropped
NGRAMS = {"dna": 6, "rna": 6, "protein": 3, "smiles": 4, "text": 4}  # longest of letters, for scikit-learn
OPTIONS = ("tokenizer", "lower", "min_count", "max_vocab", "max_len")  # keys of the config, and newer ones
NEWER = ("k", "overlap", "truncate", "special_tokens", "unknown_letters", "pretrained")


def fit(texts, *, tokenizer, lower, min_count, max_vocab, max_len, kind=None, **newer) -> dict:
    """Return the tokenizer as a plain dict: vocabulary by falling count, and where long texts are cut.

    texts : texts of the training rows, a list or an Arrow array
    kind : a key of `KINDS`; None for configs that are older than it
    newer : values of `NEWER`
    """
    name = tokenizer or ("word" if kind == "text" else "char")
    state = {"tokenizer": name, "lower": lower, "scripts": True}
    if kind:
        state |= {"tokenizer": {"words": "word", "chars": "char"}.get(name, name), "kind": kind} | newer
        state |= {} if name == "kmer" else {"k": 1, "overlap": True}
    max_len = max_len or (256 if kind in (None, "text") else 1024)
    if name in pieces.KNOWN:
        state = pieces.fit(_array(texts), state, min_count, max_vocab)
        longest = pieces.longest(_array(texts), state)
    else:
        counts, longest = _count(texts, state)
        frequent = [word for word, count in counts.items() if count >= min_count]
        words = sorted(frequent, key=lambda word: (-counts[word], word))[: max_vocab or 50_000]
        state["words"] = (SPECIAL if state.get("special_tokens") else []) + words
    n_special = len(SPECIAL) * bool(state.get("special_tokens"))
    state["max_len"] = max(1 + n_special, min(max_len, longest + n_special))
    if kind:
        state |= {"longest": longest + n_special, "dtype": str(np.min_scalar_type(-2 - len(state["words"])))}
    return state


def check(state: dict, texts: pa.Array, names: list[str]) -> list[str]:
    """Return sentences on letters outside the alphabet and on rows that are cut; or refuse such letters."""
    kind, said, name = state.get("kind"), strangers(state, texts, names), ", ".join(names)
    if kind and state["longest"] > state["max_len"]:
        end = f"longer rows keep their {state['truncate']} of {state['max_len']:,}"
        said.append(f"{name}: up to {state['longest']:,} tokens; {end} (dataset.max_len)")
    return said


def strangers(state: dict, texts: pa.Array, names: list[str]) -> list[str]:
    """Return a sentence on letters outside the alphabet, if there are some; or refuse them."""
    kind, said, name = state.get("kind"), [], ", ".join(names)
    if KINDS.get(kind):
        counts, rows = letters.strangers(texts, kind)
        shown = ", ".join(f"{letter!r} {n:,}" for letter, n in counts.most_common(5))
        found = f"{name}: {counts.total():,} letters of {len(rows):,} rows are not of {kind} ({shown})"
        if counts and state["unknown_letters"] == "error":
            advice = "dataset.unknown_letters=mask or drop goes on without them"
            raise UserError(f"{found}, first in row {rows[0]}: {advice}")
        done = {"mask": "masked", "drop": "dropped"}.get(state["unknown_letters"])
        said = [f"{found}: {done}"] if counts else []
    return said


def unknown(state: dict, part: dict, names: list[str]) -> list[str]:
    """Return a sentence if most tokens of val are unknown, as long k-mers are, or whole reads as words."""
    share = (part["input_ids"] == UNKNOWN).sum() / max(1, part["lengths"].sum())
    why = "rare in train (dataset.min_count), masked, or empty cells"
    said = f"{', '.join(names)}: {share:.0%} of the tokens of val are unknown: {why}"
    return [said] if share > 0.5 and state["tokenizer"] != "hf" else []  # hf numbers its own way


def _count(texts, state: dict) -> tuple[Counter, int]:
    """Return how often each token occurs, and the number of tokens of the longest row."""
    if state["tokenizer"] in ("char", "kmer"):
        return letters.count(_array(texts), state)
    rows = _tokens(texts, state)
    return Counter(chain.from_iterable(rows)), max(map(len, rows), default=1)


def slices(rows: Rows, names: list[str]):
    """Yield the text of some rows at a time, for `apply`: a large table is copied a slice at a time."""
    some = joined(Rows(rows.frame, rows.rows[:1000]), names)
    n_letters = pc.sum(pc.binary_length(some)).as_py() or 0
    step = max(1, LETTERS * len(some) // max(1, n_letters))
    for i in range(0, max(1, len(rows)), step):
        yield joined(Rows(rows.frame, rows.rows[i : i + step]), names)


def _numbers(state: dict, texts) -> tuple[np.ndarray, np.ndarray]:
    """Return the token numbers of all texts one after the other, and the number of tokens of each."""
    if state.get("unknown_letters") == "error":
        strangers(state, _array(texts), ["these rows"])
    if state["tokenizer"] in pieces.KNOWN:
        return pieces.encode(_array(texts), state)
    if state["tokenizer"] in ("char", "kmer"):
        return letters.encode(_array(texts), state)
    number_of = {word: i for i, word in enumerate(state["words"], start=2)}
    rows = _tokens(texts, state)
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    numbers = (number_of.get(token, UNKNOWN) for token in chain.from_iterable(rows))
    return np.fromiter(numbers, np.int32, lengths.sum()), lengths


def apply(state: dict, texts) -> tuple[np.ndarray, np.ndarray]:
    """Return token numbers (n, T), int32 or smaller, and how many of each row are no padding: (n,) int32.

    T, the longest text, is at most ``max_len``. An empty text is one unknown token: every row has something
    to attend to. The numbers of each of ``texts``, lists or `slices`, are dropped once they are copied.
    """
    parts = list(map(partial(_numbers, state), texts))  # holds no slice of texts while the next is made
    special, where = bool(state.get("special_tokens")), state.get("truncate", "head")
    lengths = np.concatenate([n for _, n in parts])
    kept, start = np.minimum(lengths, state["max_len"] - 2 * special), 0
    columns = np.arange((kept + 2 * special).max(initial=1))
    out = np.zeros((len(lengths), len(columns)), state.get("dtype", np.int32))  # 0 is `PAD`
    step = max(1, CELLS // len(columns))
    while parts:
        ids, n = parts.pop(0)
        mine, into, start = kept[start : start + len(n)], out[start : start + len(n)], start + len(n)
        skipped = {"head": 0, "tail": n - mine, "centre": (n - mine) // 2}[where]
        first = np.cumsum(n) - n + skipped - special  # place in ids of column 0
        for rows in (slice(i, i + step) for i in range(0, len(n), step)):  # places take 8 bytes each
            inside = (columns >= special) & (columns < mine[rows, None] + special)  # (T,), (n, 1) -> (n, T)
            into[rows][inside] = ids[(first[rows, None] + columns)[inside]]
    if special:
        out[:, 0] = 2
        out[np.arange(len(out)), kept + 1] = 3
        return out, (kept + 2).astype(np.int32)
    out[kept == 0, 0] = UNKNOWN
    return out, np.maximum(kept, 1).astype(np.int32)


def joined(frame, names: list[str]) -> pa.Array:
    """Return the text columns of each row as one text; empty cells count as empty text."""
    if len(names) == 1:
        return as_array(frame[names[0]]).fill_null("")
    texts = map(" ".join, zip(*(as_text(frame[name]) for name in names), strict=True))
    return pa.array(texts, pa.large_string())


def _array(texts) -> pa.Array:
    return texts if isinstance(texts, pa.Array) else pa.array(texts, pa.large_string())


def _tokens(texts, state: dict) -> list[list[str]]:
    """Return the tokens of each text; by the plain rules in runs that were recorded before "scripts"."""
    split = CUTTERS[state["tokenizer"]]
    texts = texts.to_pylist() if isinstance(texts, pa.Array) else texts
    texts = (text.lower() if state["lower"] else text for text in texts)
    if not state.get("scripts"):
        return [split(text) for text in texts]
    other = _words().findall if state["tokenizer"] in ("word", "words") else split
    return [split(text) if text.isascii() else other(unicodedata.normalize("NFC", text)) for text in texts]


@cache
def _words() -> re.Pattern:
    r"""Return \w+|[^\w\s] of any script: marks stay in their word, letters without spaces are words."""
    marks = "".join(c for c in map(chr, range(0x300, 0x20000)) if unicodedata.category(c)[0] == "M")
    marks = f"[{marks}\u200c\u200d]*"  # with the joiners that Indic and Persian words have inside
    return re.compile(rf"[{CHINESE}{THAI}]{marks}|(?:(?![{CHINESE}{THAI}])\w{marks})+|[^\w\s]{marks}")
