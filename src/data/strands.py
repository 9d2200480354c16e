"""The other strand of DNA: read by training, and averaged with the given one at prediction."""

from functools import wraps

import numpy as np

from src.data.words import KINDS
from src.metric.decision import calibrated
from src.system.errors import UserError

PAIRS = {"dna": "TGCAYRSWMKVHDBN-", "rna": "UGCAYRSWMKVHDBN-"}  # complements of `KINDS`


def complements(state: dict) -> list[int]:
    """Return for each token number that of its reverse complement; 1 where training never saw it."""
    kind, name = state.get("kind"), state["tokenizer"]
    if kind not in PAIRS or name not in ("char", "kmer") or not state["overlap"]:
        given = f"these are {kind} by {name}: leave dataset.reverse_complement out"
        raise UserError(f"reverse complements are of dna or rna, by char or overlapping kmer; {given}")
    table, words = str.maketrans(KINDS[kind], PAIRS[kind]), ["", "", *state["words"]]
    number_of = {word: i for i, word in enumerate(words[2:], start=2)}
    return [0, *(number_of.get(word.translate(table)[::-1], 1) for word in words[1:])]


def other_strand(part: dict, info: dict) -> dict:
    """Return a part with each row's reverse complement; [CLS] and [SEP] stay where they are."""
    ids, lengths = part["input_ids"], part["lengths"][:, None]  # (n, T), (n, 1)
    end = lengths - info["special_tokens"]
    place = np.arange(ids.shape[1])
    inside = (place >= info["special_tokens"]) & (place < end)  # (n, T)
    source = np.where(inside, lengths - 1 - place, place)
    turned = np.asarray(info["complements"], ids.dtype)[np.take_along_axis(ids, source, 1)]
    return part | {"input_ids": np.where(inside, turned, ids)}


def on_both(part: dict, info: dict) -> dict:
    """Return the rows of a part followed by their other strands."""
    other = other_strand(part, info)
    return {name: np.concatenate([array, other[name]]) for name, array in part.items()}


def averaged(predict):
    """Make ``predict(model, part, info)`` the mean over both strands, and calibrated, where that is asked."""

    @wraps(predict)
    def over_strands(model, part: dict, info: dict) -> np.ndarray:
        p = predict(model, part, info)
        if "complements" in info:
            p = (p + predict(model, other_strand(part, info), info)) / 2
        return calibrated(p, info)

    return over_strands
