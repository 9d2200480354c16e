"""Pieces of words: BPE and WordPiece, learned here, or a pretrained model's own (Hugging Face tokenizers)."""

import json
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from src.system.code import needed
from src.system.errors import UserError, one_line

KNOWN = ("bpe", "wordpiece", "hf")
PAD, UNKNOWN = "[PAD]", "[UNK]"
BATCH = 10_000  # texts that are Python objects at once
# letters of sequences that BPE learns from: without words it takes 5 s for 3.5 million, 0.4 s for these, and
# needs 4% more tokens
SAMPLE = 200_000
_encoded = []  # (texts, pieces, result) of the training rows: their lengths are needed before their numbers


def fit(texts: pa.Array, state: dict, min_count: int, max_vocab: int | None) -> dict:
    """Return the state with what `tokenizers` needs, as JSON, and the words by their numbers, from 2 on."""
    if state["tokenizer"] == "wordpiece" and state["kind"] != "text":  # it would learn others in each run
        raise UserError(f"dataset.tokenizer=wordpiece is for text, not for {state['kind']}: take bpe or kmer")
    tokenizer = _pretrained(state["pretrained"]) if state["tokenizer"] == "hf" else _new(state)
    if state["tokenizer"] == "hf":
        state = state | {"special_tokens": False}  # its own template adds them
    else:
        from tokenizers.trainers import BpeTrainer, WordPieceTrainer

        trainer = BpeTrainer if state["tokenizer"] == "bpe" else WordPieceTrainer
        special = [PAD, UNKNOWN, *(["[CLS]", "[SEP]"] if state["special_tokens"] else [])]
        options = {"vocab_size": max_vocab or 4096, "min_frequency": min_count, "show_progress": False}
        whole, sample = "".join(_cased(texts, state)), texts
        if state["tokenizer"] == "wordpiece":  # the trainer numbers signs in another order in each run
            signs = set(whole.lower() if state["lower"] else whole)
            special += [f"##{sign}" for sign in sorted(signs - {" "})]
        elif state["kind"] != "text":
            sample, options = _sample(texts), options | {"initial_alphabet": sorted(set(whole))}
        tokenizer.train_from_iterator(_cased(sample, state), trainer(special_tokens=special, **options))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    words = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    names = dict.fromkeys(range(words[-1][1] + 1), "") | {i: word for word, i in words}
    learned = json.loads(tokenizer.to_str())
    if state["tokenizer"] == "wordpiece":
        learned["added_tokens"] = [one for one in learned["added_tokens"] if one["content"][:2] != "##"]
    return state | {"pieces": learned, "words": list(names.values())[2:]}


def longest(texts: pa.Array, state: dict) -> int:
    """Return the number of tokens of the longest training row; `encode` has its numbers when it is asked."""
    _encoded[:] = [(texts, state["pieces"], encode(texts, state))]
    return int(_encoded[0][2][1].max(initial=1))


def encode(texts: pa.Array, state: dict) -> tuple[np.ndarray, np.ndarray]:
    """Return the token numbers of all rows one after the other, and the number of tokens of each row."""
    if _encoded and state["pieces"] is _encoded[0][1] and texts.equals(_encoded[0][0]):
        return _encoded.pop()[2]
    tokenizer, ids, lengths = _library().Tokenizer.from_str(json.dumps(state["pieces"])), [], []
    for start in range(0, len(texts), BATCH):
        rows = [one.ids for one in tokenizer.encode_batch_fast(_cased(texts.slice(start, BATCH), state))]
        lengths += map(len, rows)
        ids.append(np.fromiter(chain.from_iterable(rows), np.int32))
    return np.concatenate(ids or [np.zeros(0, np.int32)]), np.array(lengths, np.int64)


def _sample(texts: pa.Array) -> pa.Array:
    """Return rows evenly drawn, of about `SAMPLE` letters in all."""
    n_letters = pc.sum(pc.binary_length(texts)).as_py() or 0
    n = max(1, min(len(texts), len(texts) * SAMPLE // max(1, n_letters)))
    return texts.take(pa.array(np.linspace(0, len(texts) - 1, n).astype(np.int64))) if len(texts) else texts


def _cased(texts: pa.Array, state: dict) -> list[str]:
    """Return the texts; letters of sequences in upper case, as in other tokenizers."""
    return (texts if state["kind"] in ("text", "smiles") else pc.ascii_upper(texts)).to_pylist()


def _library():
    return needed("tokenizers", extra="hf", what="dataset.tokenizer=bpe, wordpiece and hf")


def _new(state: dict):
    """Return a tokenizer without vocabulary; sequences of letters are not cut into words first."""
    library = _library()
    from tokenizers import models, normalizers, pre_tokenizers

    model = models.BPE if state["tokenizer"] == "bpe" else models.WordPiece
    tokenizer = library.Tokenizer(model(unk_token=UNKNOWN))
    if state["kind"] == "text":
        lower = [normalizers.Lowercase()] if state["lower"] else []
        tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), *lower])
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


def _pretrained(name: str | None):
    """Return the tokenizer of a pretrained model: ``tokenizer.json`` in a folder, or a name of the hub."""
    if not name:
        raise UserError("dataset.tokenizer=hf needs dataset.pretrained=..., a folder or a name of the hub")
    library, folder = _library(), Path(name).expanduser()
    file = folder / "tokenizer.json" if folder.is_dir() else folder
    if folder.exists() and not file.is_file():
        raise UserError(f"dataset.pretrained={name}: there is no tokenizer.json in this folder")
    try:
        tokenizer = library.Tokenizer
        return tokenizer.from_file(str(file)) if file.is_file() else tokenizer.from_pretrained(name)
    except Exception as error:  # the library raises plain Exceptions
        where = f"dataset.pretrained={name} is no tokenizer, here or on the hub"
        raise UserError(f"{where}: {one_line(error)}") from None
