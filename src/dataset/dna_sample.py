"""Made-up DNA with planted motifs: 4,000 reads of 80 letters, 2% mislabelled. Not a benchmark.

``dataset.motif=place``: TATAAA at letters 20 to 25 decides; reads of the other class hold it elsewhere.
``dataset.motif=word``: TGACTCA decides, anywhere in the read and on either strand; reads of the other class
hold its letters in another order.
"""

import numpy as np
import pandas as pd

MOTIFS = {"place": "TATAAA", "word": "TGACTCA"}
N, LENGTH, PLACE, WRONG = 4000, 80, 20, 0.02


def read(cfg: dict) -> pd.DataFrame:
    """Return columns sequence, label (no, yes) and start: where the deciding motif was planted, or -1."""
    rng, motif = np.random.default_rng(0), MOTIFS[cfg["motif"]]
    reads = rng.choice(list("ACGT"), (N, LENGTH))
    yes = rng.random(N) < 0.5
    starts = np.full(N, PLACE)
    if cfg["motif"] == "word":
        starts = rng.integers(0, LENGTH - len(motif) + 1, N)
    for i in range(N):
        planted, start = list(motif), starts[i]
        if cfg["motif"] == "word" and rng.random() < 0.5:
            planted = [{"A": "T", "C": "G", "G": "C", "T": "A"}[letter] for letter in reversed(motif)]
        if not yes[i]:
            if cfg["motif"] == "place":
                start = rng.choice([*range(PLACE - 8), *range(PLACE + 8, LENGTH - len(motif) + 1)])
            else:
                planted = rng.permutation(planted)
        reads[i, start : start + len(motif)] = planted
    label = np.where(yes ^ (rng.random(N) < WRONG), "yes", "no")
    sequence = ["".join(read) for read in reads]
    return pd.DataFrame({"sequence": sequence, "label": label, "start": np.where(yes, starts, -1)})
