"""Numbers as vectors: piecewise-linear between bins, or periodic (Gorishniy et al. 2022)."""

import math

import numpy as np
import torch
from torch import Tensor, nn

from src.model.words import NUMERIC

MAX_ROWS = 100_000  # training rows, evenly spaced, that bins are learned from


def embed_numbers(info: dict, numeric: str, d_number: int, n_bins: int, n_frequencies: int, sigma: float):
    """Return a module (B, F) -> (B, F, d_number); None where numbers stay as they are, or there are none.

    numeric : linear | quantiles | trees (piecewise-linear between quantiles, or splits of a tree) | periodic
    """
    if numeric not in NUMERIC:
        raise ValueError(f"numeric={numeric} is unknown; known: {', '.join(NUMERIC)}")
    if numeric == "linear" or not info["n_num_features"]:
        return None
    if numeric == "periodic":
        return Periodic(info["n_num_features"], d_number, n_frequencies, sigma)
    return PiecewiseLinear(info["n_num_features"], d_number, n_bins, by_trees=numeric == "trees")


class Periodic(nn.Module):
    """Sines and cosines of learned frequencies, a linear layer that all columns share, ReLU: PLR-lite.

    sigma : deviation of the frequencies at the start; the larger, the finer the steps that it sees

    **Shape**: x_num (B, F) -> (B, F, D)
    """

    def __init__(self, n_columns: int, d_number: int, n_frequencies: int, sigma: float):
        super().__init__()
        self.frequencies = nn.Parameter(torch.empty(n_columns, n_frequencies))
        nn.init.trunc_normal_(self.frequencies, 0.0, sigma, a=-3 * sigma, b=3 * sigma)
        self.linear = nn.Linear(2 * n_frequencies, d_number)

    def forward(self, x_num: Tensor) -> Tensor:
        angle = 2 * math.pi * self.frequencies * x_num[:, :, None]  # (B, F, n_frequencies)
        return self.linear(torch.cat([angle.cos(), angle.sin()], 2)).relu()


class PiecewiseLinear(nn.Module):
    """The share of each bin that lies below x, a linear layer of each column, ReLU.

    Bins come from training rows and are saved with the weights. Beyond its last bin a column stays the same:
    a cell of 1e6 in a new row gives no number that training has not seen.

    **Shape**: x_num (B, F) -> (B, F, D)
    """

    def __init__(self, n_columns: int, d_number: int, n_bins: int, by_trees: bool):
        super().__init__()
        self.by_trees = by_trees
        bound = n_bins**-0.5
        self.weight = nn.Parameter(torch.empty(n_columns, n_bins, d_number).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(n_columns, d_number).uniform_(-bound, bound))
        # share of bin i: scale * x + shift, cut to [0, 1]; equal bins until training rows are known
        self.register_buffer("scale", torch.full((n_columns, n_bins), n_bins / 6.0))
        self.register_buffer("shift", (n_bins / 2 - torch.arange(n_bins)).expand(n_columns, -1).clone())

    @torch.no_grad()
    def start_from(self, data) -> None:
        """Learn the bins of each column from the training rows; bins that it does not need stay 0."""
        train, n_bins = data.parts["train"], self.scale.shape[1]
        step = -(-len(train["y"]) // MAX_ROWS)
        y, regression = train["y"][::step], data.info["task"] == "regression"
        self.scale.zero_()
        self.shift.zero_()
        for i, column in enumerate(train["x_num"][::step].T):
            column = column.astype(np.float64)
            equal = np.quantile(column, np.linspace(0, 1, n_bins + 1))
            edges = np.unique(splits(column, y, n_bins, regression) if self.by_trees else equal)
            width = np.diff(edges)
            self.scale[i, : len(width)] = torch.from_numpy(1 / width)
            self.shift[i, : len(width)] = torch.from_numpy(-edges[:-1] / width)

    def forward(self, x_num: Tensor) -> Tensor:
        shares = torch.addcmul(self.shift, self.scale, x_num[:, :, None]).clamp(0, 1)  # (B, F, n_bins)
        embedded = shares.transpose(0, 1) @ self.weight  # (F, B, D)
        return (embedded.transpose(0, 1) + self.bias).relu()


def splits(column: np.ndarray, y: np.ndarray, n_bins: int, regression: bool) -> np.ndarray:
    """Return where a tree of ``n_bins`` leaves splits the values (n,) to predict y (n,), and their ends."""
    from sklearn import tree  # 1.5 s that other nets save

    cls = tree.DecisionTreeRegressor if regression else tree.DecisionTreeClassifier
    options = {"max_leaf_nodes": max(2, n_bins), "min_samples_leaf": min(64, -(-len(y) // 20))}
    fitted = cls(**options, random_state=0).fit(column[:, None], y).tree_
    inner = fitted.threshold[fitted.children_left != fitted.children_right][: n_bins - 1]
    return np.append(inner, [column.min(), column.max()])
