"""A made-up sentiment corpus, to try text without a network: 3,000 sentences from templates, 10% mislabelled.

It is not a benchmark: a good score shows that the machinery works, nothing more.
"""

import numpy as np
import pandas as pd

WORDS = {
    "positive": "warm funny moving clever fresh tender gripping honest lovely radiant sharp generous".split(),
    "negative": "dull lazy hollow clumsy stale tedious flat noisy shallow grating bland pointless".split(),
    "thing": "plot cast script ending score dialogue pacing lead camera story humour finale".split(),
    "frame": [
        "the {thing} is {word} and the {other} is {word2}",
        "a {word} , {word2} film with a {filler} {thing}",
        "for all its {filler} {other} , the {thing} stays {word}",
        "i found the {thing} {word} , the {other} {filler}",
        "never less than {word} , even when the {thing} turns {filler}",
        "not {opposite} at all : the {thing} is {word}",
    ],
    "filler": "long short familiar quiet modern small strange early simple distant".split(),
}


def read(cfg: dict) -> pd.DataFrame:
    """Return columns sentence and label (negative, positive)."""
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(3000):
        label, opposite = rng.permutation(["positive", "negative"])
        word, word2 = rng.choice(WORDS[label], 2, replace=False)
        thing, other = rng.choice(WORDS["thing"], 2, replace=False)
        sentence = rng.choice(WORDS["frame"]).format(
            thing=thing, other=other, word=word, word2=word2,
            opposite=rng.choice(WORDS[opposite]), filler=rng.choice(WORDS["filler"]),
        )
        rows.append({"sentence": sentence, "label": opposite if rng.random() < 0.1 else label})
    return pd.DataFrame(rows)
