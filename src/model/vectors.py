"""Read word vectors from a text file of GloVe or word2vec, plain or gzip; only those of a vocabulary."""

import gzip
import zlib

import numpy as np

from src.system.errors import UserError, log
from src.system.tables import find_table


def word_vectors(file: str, words: list[str], width: int) -> dict[int, np.ndarray]:
    """Return {number in ``words``: vector (width,)} of the words that the file has.

    A line is a word and its numbers, parted by spaces; word2vec's first line is two numbers. The first line
    of a word counts: GloVe's file of 840 billion tokens has words with spaces further down.
    """
    path, number_of, found = find_table(file), {word.encode(): i for i, word in enumerate(words)}, {}
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as lines:
            for n, line in enumerate(lines, 1):
                word, _, rest = line.partition(b" ")
                number = number_of.get(word)
                if number is None or number in found or (n == 1 and len(rest.split()) == 1):
                    continue
                vector = np.array(rest.decode().split(), np.float32)
                if len(vector) != width:
                    raise ValueError(f"line {n} has {len(vector)} numbers, model.net.d_token is {width}")
                found[number] = vector
    except (ValueError, OSError, EOFError, zlib.error) as error:
        raise UserError(f"model.net.vectors={file}: {error}") from None
    if not found:
        raise UserError(f"model.net.vectors={file} has none of the {len(words):,} words of the vocabulary")
    log.info("%s   vectors of %s of %s words", path.name, f"{len(found):,}", f"{len(words):,}")
    return found
