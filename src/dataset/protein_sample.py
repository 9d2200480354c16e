"""Made-up proteins: 2,000 variants of a parent of 60 residues, and their stability. Not a benchmark.

1 to 4 residues of a variant differ. Each substitution at 12 planted sites has its effect, others have next to
none. One of twenty variants has a stop, *, and is not stable at all.
"""

import numpy as np
import pandas as pd

RESIDUES = "ACDEFGHIKLMNPQRSTVWY"
N, LENGTH = 2000, 60
SITES = (12, *range(5, 60, 5))  # letters, counted from 0, whose substitutions matter


def read(cfg: dict) -> pd.DataFrame:
    """Return columns sequence and stability; 0 is the parent's."""
    rng = np.random.default_rng(0)
    parent = rng.integers(0, 20, LENGTH)
    effect = rng.normal(scale=0.05, size=(LENGTH, 20))
    effect[list(SITES)] = rng.normal(-1, 1, (len(SITES), 20))
    effect[np.arange(LENGTH), parent] = 0
    rows = []
    for _ in range(N):
        variant = parent.copy()
        changed = rng.choice([*SITES, *range(LENGTH)], rng.integers(1, 5))
        variant[changed] = rng.integers(0, 20, len(changed))
        stability = effect[np.arange(LENGTH), variant].sum() + rng.normal(scale=0.2)
        letters = [RESIDUES[i] for i in variant]
        if rng.random() < 0.05:
            letters[rng.integers(LENGTH)] = "*"
            stability = rng.normal(-8, 0.2)
        rows.append({"sequence": "".join(letters), "stability": stability})
    return pd.DataFrame(rows)
