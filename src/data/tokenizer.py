"""Text to token numbers, with a vocabulary learned from the training rows only."""

from collections import Counter

import numpy as np

from src.data.words import TOKENIZERS
from src.system.errors import UserError

PAD, UNKNOWN = 0, 1  # token numbers; the vocabulary starts at 2


def fit(texts, *, tokenizer, lower, min_count, max_vocab, max_len) -> dict:
    """Return the tokenizer as a plain dict: vocabulary by falling count, and where long texts are cut."""
    if tokenizer not in TOKENIZERS:
        raise UserError(f"dataset.tokenizer={tokenizer} is unknown; known: {', '.join(TOKENIZERS)}")
    rows = _tokens(texts, tokenizer, lower)
    counts = Counter(token for row in rows for token in row)
    frequent = [word for word, count in counts.items() if count >= min_count]
    vocabulary = sorted(frequent, key=lambda word: (-counts[word], word))[:max_vocab]
    max_len = max(1, min(max_len, max(map(len, rows), default=1)))
    return {"tokenizer": tokenizer, "lower": lower, "words": vocabulary, "max_len": max_len}


def apply(state: dict, texts) -> tuple[np.ndarray, np.ndarray]:
    """Return token numbers (n, T) int32 and mask (n, T) bool, T the longest text (at most ``max_len``).

    An empty text is one unknown token, so that every row has something to attend to.
    """
    number_of = {word: i for i, word in enumerate(state["words"], start=2)}
    rows = []
    for tokens in _tokens(texts, state["tokenizer"], state["lower"]):
        row = [number_of.get(token, UNKNOWN) for token in tokens[: state["max_len"]]]
        rows.append(row or [UNKNOWN])
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    mask = np.arange(lengths.max(initial=1)) < lengths[:, None]  # (T,) < (n, 1) -> (n, T)
    input_ids = np.full(mask.shape, PAD, np.int32)
    input_ids[mask] = np.concatenate(rows) if rows else []
    return input_ids, mask


def _tokens(texts, tokenizer, lower):
    return [TOKENIZERS[tokenizer](text.lower() if lower else text) for text in texts]
