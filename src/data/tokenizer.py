"""Text to token numbers, with a vocabulary learned from the training rows only."""

import re
import unicodedata
from collections import Counter
from functools import cache

import numpy as np

from src.data.words import CHINESE, THAI, TOKENIZERS
from src.system.errors import UserError

PAD, UNKNOWN = 0, 1  # token numbers; the vocabulary starts at 2


def fit(texts, *, tokenizer, lower, min_count, max_vocab, max_len) -> dict:
    """Return the tokenizer as a plain dict: vocabulary by falling count, and where long texts are cut."""
    if tokenizer not in TOKENIZERS:
        raise UserError(f"dataset.tokenizer={tokenizer} is unknown; known: {', '.join(TOKENIZERS)}")
    state = {"tokenizer": tokenizer, "lower": lower, "scripts": True}
    rows = _tokens(texts, state)
    counts = Counter(token for row in rows for token in row)
    frequent = [word for word, count in counts.items() if count >= min_count]
    vocabulary = sorted(frequent, key=lambda word: (-counts[word], word))[:max_vocab]
    max_len = max(1, min(max_len, max(map(len, rows), default=1)))
    return state | {"words": vocabulary, "max_len": max_len}


def apply(state: dict, texts) -> tuple[np.ndarray, np.ndarray]:
    """Return token numbers (n, T) int32 and mask (n, T) bool, T the longest text (at most ``max_len``).

    An empty text is one unknown token, so that every row has something to attend to.
    """
    number_of = {word: i for i, word in enumerate(state["words"], start=2)}
    rows = []
    for tokens in _tokens(texts, state):
        row = [number_of.get(token, UNKNOWN) for token in tokens[: state["max_len"]]]
        rows.append(row or [UNKNOWN])
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    mask = np.arange(lengths.max(initial=1)) < lengths[:, None]  # (T,) < (n, 1) -> (n, T)
    input_ids = np.full(mask.shape, PAD, np.int32)
    input_ids[mask] = np.concatenate(rows) if rows else []
    return input_ids, mask


def _tokens(texts, state: dict) -> list[list[str]]:
    """Return the tokens of each text; by the plain rules in runs that were recorded before "scripts"."""
    split = TOKENIZERS[state["tokenizer"]]
    texts = (text.lower() if state["lower"] else text for text in texts)
    if not state.get("scripts"):
        return [split(text) for text in texts]
    other = _words().findall if state["tokenizer"] == "words" else split
    return [split(text) if text.isascii() else other(unicodedata.normalize("NFC", text)) for text in texts]


@cache
def _words() -> re.Pattern:
    r"""Return \w+|[^\w\s] of any script: marks stay in their word, letters without spaces are words."""
    marks = "".join(c for c in map(chr, range(0x300, 0x20000)) if unicodedata.category(c)[0] == "M")
    marks = f"[{marks}\u200c\u200d]*"  # with the joiners that Indic and Persian words have inside
    return re.compile(rf"[{CHINESE}{THAI}]{marks}|(?:(?![{CHINESE}{THAI}])\w{marks})+|[^\w\s]{marks}")
