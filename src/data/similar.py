"""Clusters of alike sequences, by the k-mers that they share: no row of test then has a twin in train."""

import math

import numpy as np
import pyarrow as pa
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from src.data import letters
from src.system.errors import log

SKETCH = 64  # k-mers of a sequence that are compared; of longer ones the same share of each, by a hash
BLOCK = 256  # sequences that are compared with all others at once
HASH = np.uint64(0x9E3779B97F4A7C15)


def clusters(texts: pa.Array, kind: str, identity: float) -> np.ndarray:
    """Return (n,) the cluster of each row: rows of ``identity`` or more share one, also through others.

    Two sequences of identity i share about i**k of their k-mers (Ondov et al. 2016, Mash); k is so long that
    unrelated ones hardly share any.
    """
    size = max(1, letters.pc.mean(letters.pc.binary_length(texts)).as_py() or 1)
    n_letters, more = {"dna": (4, 4), "rna": (4, 4)}.get(kind, (20, 2))
    k = math.ceil(math.log(size, n_letters)) + more
    state = {"kind": kind, "lower": True, "unknown_letters": "mask", "k": k, "overlap": True}
    shared = _kmers(texts, state, size)
    counts, n = np.diff(shared.indptr), len(texts)
    cluster, columns = np.arange(n), shared.T.tocsr()
    for start in range(0, n, BLOCK):
        alike = (shared[start : start + BLOCK] @ columns).tocoo()
        row, other = alike.row + start, alike.col
        close = alike.data >= identity**k * np.minimum(counts[row], counts[other])
        edges = (np.append(row[close], np.arange(n)), np.append(other[close], cluster))
        cluster = connected_components(sparse.coo_matrix((np.ones(len(edges[0])), edges), (n, n)), False)[1]
        cluster = np.unique(cluster, return_index=True)[1][cluster]  # each is named by its first row
    sizes = np.bincount(cluster)
    log.info("similar  %d clusters of %d rows, %d in the largest", (sizes > 0).sum(), n, sizes.max())
    return cluster


def _kmers(texts: pa.Array, state: dict, size: float) -> sparse.csr_matrix:
    """Return which k-mers each sequence has: (n, k-mers) of 0 and 1."""
    one_of, rows, codes, first = np.uint64(max(1, size // SKETCH)), [], [], 0
    for found, n in letters.codes(texts, state):
        kept = (found.astype(np.uint64) * HASH >> np.uint64(32)) % one_of == 0
        rows.append(first + np.repeat(np.arange(len(n)), n)[kept])
        codes.append(found[kept])
        first += len(n)
    columns = np.unique(np.concatenate(codes), return_inverse=True)[1]
    entries = (np.ones(len(columns), np.int32), (np.concatenate(rows), columns))
    table = sparse.coo_matrix(entries, (len(texts), columns.max(initial=0) + 1)).tocsr()
    table.data[:] = 1
    return table
