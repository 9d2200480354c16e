"""Names that models share, without heavy imports: a typo is refused before NumPy loads."""

import math

ARRAYS = ("x_num", "x_cat", "input_ids", "lengths")  # keys of a part: (n, F), (n, C), (n, T) and (n,) tokens
INPUTS = ("x_num", "x_cat", "input_ids", "attention_mask")  # keys of a batch, arguments of a net's forward
# model.categories: one column a category | one column of codes | codes that the estimator knows of
CATEGORIES = ("onehot", "codes", "native")
# model.net.numeric: how nets for tables read numbers, see `src.model.numeric.embed_numbers`
NUMERIC = ("linear", "quantiles", "trees", "periodic")
# model.schedule: from the share of steps done to the share of lr
SCHEDULES = {
    "constant": lambda done: 1.0,
    "linear": lambda done: 1 - done,
    "cosine": lambda done: (1 + math.cos(math.pi * done)) / 2,
    "onecycle": lambda done: (  # rises for 30% of the steps, then falls to nearly 0 (Smith 2018)
        0.04 + 0.96 * (1 - math.cos(math.pi * done / 0.3)) / 2
        if done < 0.3
        else 1e-4 + (1 - 1e-4) * (1 + math.cos(math.pi * (done - 0.3) / 0.7)) / 2
    ),
}
