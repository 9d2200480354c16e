"""Sequences as arrays of letters: characters and k-mers of all rows at once, no Python object a letter."""

import math
import re
import unicodedata
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from src.data.words import KINDS
from src.system.errors import UserError

UNKNOWN = 1  # token number; 0 is padding
CHUNK = 1 << 20  # letters that are handled at once: codes of k-mers take 8 bytes each
PRINTED = "".join(map(chr, range(33, 127)))  # letters in k-mers of text
ATOMS = re.compile(r"(\[[^\[\]]+\]|Br|Cl|[BCNOPSFIHbcnops]|[-=#$:/\\.()%~*+@]|\d)+")  # SMILES, Weininger 1988


def kind_of(texts: list[str]) -> str:
    """Return the key of `KINDS` that the cells of a column look like: "text" unless they are sequences.

    >>> kind_of(["ACGTACGTNN", "ttgacaACGT"]), kind_of(["MKTAYIAKQR*", "GSHMLEDPVQ"])
    ('dna', 'protein')
    """
    whole = "".join(texts)
    blank = sum(" " in text.strip() for text in texts)
    if not whole or len(whole) < 8 * len(texts) or blank > 0.02 * len(texts):
        return "text"
    counts, upper = Counter(whole.upper()), sum(map(str.isupper, texts)) > 0.98 * len(texts)

    def share(letters: str) -> float:
        return sum(counts[letter] for letter in letters) / len(whole)

    if share("ACGTUN-") > 0.95 and share(KINDS["dna"] + "U") > 0.98:
        return "rna" if counts["U"] > counts["T"] else "dna"
    if upper and share("ACDEFGHIKLMNPQRSTVWYX*-") > 0.99:
        return "protein"
    some = texts[:200]
    bonds = sum(any(sign in text for sign in "()=#[]123") for text in some)
    smiles = share("CNO") > 0.4 and all(map(ATOMS.fullmatch, some)) and bonds > len(some) / 2
    return "smiles" if smiles else "text"


def chunks(texts: pa.Array, state: dict):
    """Yield (letters (N,) uint8 or uint32, lengths (n,)) of some rows at a time, as ``state`` reads them."""
    ends = np.cumsum(pc.binary_length(texts).to_numpy(zero_copy_only=False)) if len(texts) else np.zeros(0)
    start = 0
    while start < len(texts):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + CHUNK)))
        part, start = texts.slice(start, stop - start), stop
        if state["kind"] not in ("text", "smiles"):
            part = pc.ascii_upper(part)
        elif state["kind"] == "text" and state["lower"]:
            part = pc.utf8_lower(part)
        letters, lengths = _flat(part)
        if state["unknown_letters"] == "drop" and KINDS[state["kind"]]:
            kept = allowed(state["kind"])[np.minimum(letters, 255)]
            count = np.concatenate([[0], np.cumsum(kept)])
            bounds = np.concatenate([[0], np.cumsum(lengths)])
            letters, lengths = letters[kept], np.diff(count[bounds])
        yield letters, lengths


def _flat(texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Return the letters of all texts one after the other, and the number of each text's letters."""
    _, offsets, data = texts.buffers()
    offsets = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    letters = np.frombuffer(data or b"", np.uint8)[offsets[0] : offsets[-1]]
    if letters.max(initial=0) < 128:
        return letters, np.diff(offsets)
    texts = [unicodedata.normalize("NFC", text) for text in texts.to_pylist()]
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    return np.frombuffer("".join(texts).encode("utf-32-le"), np.uint32), lengths


def allowed(kind: str) -> np.ndarray:
    """Return (256,) bool, whether a letter is one of the kind's; a blank joins several columns."""
    table = np.zeros(256, bool)
    table[[ord(letter) for letter in KINDS[kind] + " "]] = True
    return table


def strangers(texts: pa.Array, kind: str) -> tuple[Counter, np.ndarray]:
    """Return how often letters occur that are not of the kind's alphabet, and the rows that hold them."""
    counts, rows, first = Counter(), [], 0
    for letters, lengths in chunks(texts, {"kind": kind, "unknown_letters": "mask"}):
        strange = ~allowed(kind)[np.minimum(letters, 255)]
        if strange.any():
            found, n = np.unique(letters[strange], return_counts=True)
            counts.update(dict(zip(map(chr, found.tolist()), n.tolist(), strict=True)))
            ends = np.cumsum(lengths)
            rows.append(first + np.unique(np.searchsorted(ends, np.flatnonzero(strange), side="right")))
        first += len(lengths)
    return counts, np.concatenate(rows) if rows else np.zeros(0, np.int64)


def count(texts: pa.Array, state: dict) -> tuple[Counter, int]:
    """Return how often each token of the alphabet occurs, and the number of tokens of the longest row."""
    found, longest, k = Counter(), 1, state["k"]
    most = int(63 / math.log2(len(_alphabet(state)) + 1))  # a k-mer is a number of 64 bits
    if k > most:
        raise UserError(f"dataset.k={k} is too long for {state['kind']}: it may be {most} at most")
    for tokens, lengths in codes(texts, state):
        n = np.bincount(tokens) if k == 1 else None  # a twentieth of the time
        values, n = np.unique(tokens, return_counts=True) if n is None else (np.flatnonzero(n), n[n > 0])
        found.update(dict(zip(values.tolist(), n.tolist(), strict=True)))
        longest = max(longest, int(lengths.max(initial=1)))
    if k > 1 and not found:
        raise UserError(f"dataset.k={k} is longer than each sequence of the training rows")
    alphabet, words = _alphabet(state), Counter()
    if k == 1:
        known = None if KINDS[state["kind"]] is None else {*alphabet, " "}
        return Counter({chr(i): n for i, n in found.items() if known is None or chr(i) in known}), longest
    base = len(alphabet) + 1
    for code, n in found.items():
        digits = [code // base**i % base for i in reversed(range(k))]
        if all(digits):  # 0 is a letter that the alphabet does not have
            words["".join(alphabet[digit - 1] for digit in digits)] = n
    return words, longest


def encode(texts: pa.Array, state: dict) -> tuple[np.ndarray, np.ndarray]:
    """Return the token numbers of all rows one after the other, in their smallest type, and their lengths."""
    words = state["words"][2 * state["special_tokens"] :]  # the special tokens come first
    first, k = 2 + len(state["words"]) - len(words), state["k"]
    signs = np.array(list("".join(words)), "<U1").view(np.uint32)
    table = signs if k == 1 else _kmers(_digits(signs, state), np.arange(len(words)) * k, state)
    order = np.argsort(table)
    table, numbers = table[order], (order + first).astype(state["dtype"])
    if not words:  # no token is frequent in the training rows
        table, numbers = np.zeros(1, np.int64), np.full(1, UNKNOWN, state["dtype"])
    ids, end = np.empty(pc.sum(pc.binary_length(texts)).as_py() or 0, state["dtype"]), 0
    lengths = [np.zeros(0, np.int64)]
    for tokens, n in codes(texts, state):  # into one array: pieces of it would scatter over the heap, 4 x
        at = np.minimum(np.searchsorted(table, tokens), len(table) - 1)
        found = np.where(table[at] == tokens, numbers[at], numbers.dtype.type(UNKNOWN))
        ids[end : end + len(found)] = found
        end += len(found)
        lengths.append(n)
    return ids[:end], np.concatenate(lengths)


def _alphabet(state: dict) -> str:
    return KINDS[state["kind"]] or PRINTED


def _digits(letters: np.ndarray, state: dict) -> np.ndarray:
    """Return the place of each letter in the alphabet, from 1; 0 for others."""
    table = np.zeros(256, np.int64)
    table[[ord(letter) for letter in _alphabet(state)]] = np.arange(len(_alphabet(state))) + 1
    return np.where(letters < 256, table[np.minimum(letters, 255)], 0)


def _kmers(digits: np.ndarray, starts: np.ndarray, state: dict) -> np.ndarray:
    """Return the k digits from each start on as one number."""
    numbers, base = np.zeros(len(starts), np.int64), len(_alphabet(state)) + 1
    for i in range(state["k"]):
        numbers = numbers * base + digits[starts + i]
    return numbers


def codes(texts: pa.Array, state: dict):
    """Yield a number for each token, the letter's own or a k-mer's digits, and each row's count of them."""
    k, step = state["k"], 1 if state["overlap"] else state["k"]
    for letters, lengths in chunks(texts, state):
        if k == 1:
            yield letters, lengths
            continue
        n = np.maximum(0, (lengths - k) // step + 1)
        place = np.arange(n.sum()) - np.repeat(np.cumsum(n) - n, n)  # of each k-mer in its row
        starts = np.repeat(np.cumsum(lengths) - lengths, n) + step * place
        yield _kmers(_digits(letters, state), starts, state), n
