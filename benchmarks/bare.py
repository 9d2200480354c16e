"""Train 32 settings on Adult in a bare joblib loop of two workers: read once in each, fit, score; no records.

DATA_DIR=... python benchmarks/bare.py linear
DATA_DIR=... python benchmarks/bare.py mlp

`linear trackers` logs each fit to MLflow and W&B, too, in line, as the run t1 of OUTPUTS_DIR was logged.
`mlp` scores val after each epoch. `hist_gb_curves` has the curves of a run, too: the metrics of at most 100
stages, by scikit-learn.
"""

import functools
import os
import sys
from itertools import pairwise, product

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

N_EPOCHS = 5
SETTINGS = {  # of each model two arguments, 4 x 8 values
    "linear": ((1e-4, 2e-4, 3e-4, 4e-4), (0.1, 0.2, 0.5, 1, 2, 5, 10, 20)),  # tol, C
    "hist_gb": ((0.05, 0.1, 0.15, 0.2), (7, 11, 15, 19, 23, 27, 31, 35)),  # learning_rate, max_leaf_nodes
    "hist_gb_curves": ((0.05, 0.1, 0.15, 0.2), (7, 11, 15, 19, 23, 27, 31, 35)),
    "mlp": ((5e-4, 1e-3, 2e-3, 4e-3), (64, 96, 128, 160, 192, 224, 240, 256)),  # lr, width
}

NUMBERS = "age fnlwgt education_num capital_gain capital_loss hours_per_week".split()


@functools.cache
def data() -> tuple[dict, list[int]]:
    """Return {part: (numbers (n, 6), codes (n, 8), y (n,))}, and how many values each category has."""
    train, test = (pd.read_csv(f"{os.environ['DATA_DIR']}/adult/{name}.csv.gz") for name in ("train", "test"))
    whole = pd.concat([train, test], ignore_index=True)
    y = whole.pop("income").str.startswith(">").to_numpy(np.int64)
    codes = [pd.factorize(whole[name])[0] + 1 for name in whole if name not in NUMBERS]
    x = whole[NUMBERS].to_numpy(np.float32)
    x_cat, rows = np.stack(codes, 1), np.random.default_rng(0).permutation(len(train))
    cut = len(train) * 85 // 100
    parts = {"train": rows[:cut], "val": rows[cut:], "test": np.arange(len(train), len(whole))}
    x = (x - x[parts["train"]].mean(0)) / x[parts["train"]].std(0)
    return {name: (x[i], x_cat[i], y[i]) for name, i in parts.items()}, (x_cat.max(0) + 1).tolist()


def linear(tol: float, c: float) -> float:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import OneHotEncoder

    parts = data()[0]
    encoder = OneHotEncoder(sparse_output=False, handle_unknown="ignore", dtype=np.float32)
    encoder.fit(parts["train"][1])
    (x, y), (x_val, y_val), (x_test, y_test) = (
        (np.concatenate([numbers, encoder.transform(codes)], 1), y) for numbers, codes, y in parts.values()
    )
    model = LogisticRegression(C=c, tol=tol, max_iter=2000).fit(x, y)
    return model.score(x_val, y_val) + model.score(x_test, y_test)


def hist_gb(learning_rate: float, size: int, curves: bool = False) -> float:
    from sklearn.ensemble import HistGradientBoostingClassifier

    parts = data()[0]
    (x, y), (x_val, y_val), (x_test, y_test) = (
        (np.concatenate([numbers, codes], 1), y) for numbers, codes, y in parts.values()
    )
    model = HistGradientBoostingClassifier(
        learning_rate=learning_rate, max_leaf_nodes=size, max_iter=500,
        categorical_features=range(6, 14), early_stopping=True, n_iter_no_change=20, random_state=0,
    )  # fmt: skip
    model.fit(x, y, X_val=x_val, y_val=y_val)
    if curves:
        n = model.n_iter_
        shown = {-(-n * (i + 1) // 100) for i in range(100)}
        pairs = zip(model.staged_predict_proba(x[:10_000]), model.staged_predict_proba(x_val), strict=True)
        for stage, (p, p_val) in enumerate(pairs, start=1):
            if stage in shown:
                scores(y[:10_000], p, y_val, p_val)
    return model.score(x_val, y_val) + model.score(x_test, y_test)


def hist_gb_curves(learning_rate: float, size: int) -> float:
    return hist_gb(learning_rate, size, curves=True)


def scores(y, p, y_val, p_val) -> list[float]:
    from sklearn import metrics

    found = [metrics.log_loss(y, p), metrics.log_loss(y_val, p_val)]
    classes = p_val.argmax(1)
    for name in ("accuracy_score", "balanced_accuracy_score", "f1_score", "matthews_corrcoef"):
        found.append(getattr(metrics, name)(y_val, classes))
    found.append(metrics.f1_score(y_val, classes, average="macro"))
    ranks = (metrics.roc_auc_score, metrics.average_precision_score)
    return found + [score(y_val, p_val[:, 1]) for score in ranks]


def mlp(learning_rate: float, size: int) -> float:
    import torch
    from torch import nn

    torch.set_num_threads(1)
    torch.manual_seed(0)
    parts, counts = data()
    parts = {name: [torch.from_numpy(a) for a in arrays] for name, arrays in parts.items()}
    embeddings = nn.ModuleList([nn.Embedding(n, min(8, (n + 1) // 2)) for n in counts])
    widths = [6 + sum(e.embedding_dim for e in embeddings), size, size]
    layers = [nn.Sequential(nn.Linear(a, b), nn.ReLU(), nn.Dropout(0.1)) for a, b in pairwise(widths)]
    net = nn.Sequential(*layers, nn.Linear(size, 2))
    parameters = [*embeddings.parameters(), *net.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.01, fused=True)

    def logits(x, x_cat):
        return net(torch.cat([x, *(e(x_cat[:, i]) for i, e in enumerate(embeddings))], 1))

    @torch.inference_mode()
    def accuracy(part: str) -> float:
        x, x_cat, y = parts[part]
        return (logits(x, x_cat).argmax(1) == y).float().mean().item()

    x, x_cat, y = parts["train"]
    for _ in range(N_EPOCHS):
        net.train()
        for rows in torch.randperm(len(y)).split(256):
            optimizer.zero_grad()
            nn.functional.cross_entropy(logits(x[rows], x_cat[rows]), y[rows]).backward()
            optimizer.step()
        net.eval()
        accuracy("val")
    return accuracy("val") + accuracy("test")


def logged(model: str, *setting: float) -> float:
    from src.logger.fanout import TRACKERS
    from src.run.folder import Run
    from src.run.trackers import describe, final

    score, run = globals()[model](*setting), Run.open("t1")
    for Tracker in TRACKERS.values():
        tracker = Tracker()
        tracker.start(describe(run), {})
        tracker.log([row | {"time": run.report["started"]} for row in run.rows])
        tracker.record(str(run.folder), final(run.report))
        tracker.finish("done")
    return score


if __name__ == "__main__":
    import bare  # its functions by their module: a worker keeps what `data` has read

    model, fit = sys.argv[1], getattr(bare, sys.argv[1])
    if sys.argv[2:] == ["trackers"]:
        fit = functools.partial(bare.logged, model)
    print(Parallel(n_jobs=2)(delayed(fit)(*setting) for setting in product(*SETTINGS[model])))
