"""A multilayer perceptron for any data: numbers and categories embedded, tokens averaged."""

import torch  # noqa: F401  of the example
from torch import Tensor, nn

from src.model.flat import Flat


class Residual(nn.Module):
    """x + Linear, ReLU, Dropout, Linear of the normed x; inside twice as wide. **Shape**: (B, D) -> (B, D)"""

    def __init__(self, d_hidden: int, dropout: float):
        super().__init__()
        wide = nn.Linear(d_hidden, 2 * d_hidden), nn.ReLU(), nn.Dropout(dropout)
        self.inner = nn.Sequential(nn.LayerNorm(d_hidden), *wide, nn.Linear(2 * d_hidden, d_hidden))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


class MLP(Flat):
    """Concatenated inputs, ``n_layers`` times Linear, ReLU, Dropout, then a linear head.

    residual : a linear layer and ``n_layers`` blocks that add to it (ResNet of Gorishniy et al. 2021, with
        layer norms, which train on a single row, too, in place of batch norms)

    **Shape**: x_num (B, F), x_cat (B, C), input_ids and attention_mask (B, T) -> logits (B, n_outputs)

    >>> info = {"n_num_features": 4, "cat_cardinalities": [3, 5], "vocab_size": 0, "n_outputs": 2}
    >>> MLP(info)(x_num=torch.zeros(8, 4), x_cat=torch.zeros(8, 2, dtype=torch.int64)).shape
    torch.Size([8, 2])
    """

    def __init__(
        self, info: dict, d_hidden: int = 256, n_layers: int = 2, dropout: float = 0.1, d_token: int = 128,
        d_category: int = 8, word_dropout: float = 0.0, vectors: str | None = None, by_place: bool = False,
        numeric: str = "linear", d_number: int = 16, n_bins: int = 64, n_frequencies: int = 64,
        sigma: float = 1.0, residual: bool = False,
    ):  # fmt: skip
        of_numbers = (numeric, d_number, n_bins, n_frequencies, sigma)
        super().__init__(info, d_token, d_category, word_dropout, vectors, by_place, *of_numbers)
        d_in, layers = self.d_flat, []
        if residual:
            blocks = [Residual(d_hidden, dropout) for _ in range(n_layers)]
            layers = [nn.Linear(d_in, d_hidden), *blocks, nn.LayerNorm(d_hidden), nn.ReLU()]
            d_in = d_hidden
        for _ in range(0 if residual else n_layers):
            layers += [nn.Linear(d_in, d_hidden), nn.ReLU(), nn.Dropout(dropout)]
            d_in = d_hidden
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(d_in, info["n_outputs"])

    def forward(self, x_num=None, x_cat=None, input_ids=None, attention_mask=None) -> Tensor:
        return self.head(self.layers(self.flat(x_num, x_cat, input_ids, attention_mask)))
