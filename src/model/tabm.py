"""TabM (Gorishniy et al. 2024): k nets that share nearly all weights, averaged to predict."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from src.model.flat import Flat
from src.model.lit import LitModel, inputs_of


class SharedLinear(nn.Module):
    """k linear layers that share their matrix and scale inputs and outputs each in its own way.

    BatchEnsemble (Wen et al. 2020). **Shape**: (B, k, d_in) -> (B, k, d_out)
    """

    def __init__(self, d_in: int, d_out: int, k: int):
        super().__init__()
        bound = d_in**-0.5
        self.weight = nn.Parameter(torch.empty(d_out, d_in).uniform_(-bound, bound))
        self.scale_in, self.scale_out = nn.Parameter(torch.ones(k, d_in)), nn.Parameter(torch.ones(k, d_out))
        self.bias = nn.Parameter(torch.empty(d_out).uniform_(-bound, bound).repeat(k, 1))  # equal at first

    def forward(self, x: Tensor) -> Tensor:
        x = (x * self.scale_in).flatten(0, 1) @ self.weight.T  # (B k, d_out)
        return torch.addcmul(self.bias, x.unflatten(0, (-1, len(self.bias))), self.scale_out)


class TabM(Flat):
    """Concatenated inputs, ``n_layers`` times `SharedLinear`, ReLU, Dropout, then a linear head of each net.

    The nets differ at first by random factors of each input column, and by their heads. `forward` returns the
    log of the mean of their probabilities, or the mean of their values; `each` what every net returns.

    **Shape**: x_num (B, F), x_cat (B, C), input_ids and attention_mask (B, T) -> logits (B, n_outputs)

    >>> info = {"n_num_features": 4, "cat_cardinalities": [3], "vocab_size": 0, "n_outputs": 2}
    >>> TabM(info, k=5).each(x_num=torch.zeros(8, 4), x_cat=torch.zeros(8, 1, dtype=torch.int64)).shape
    torch.Size([8, 5, 2])
    """

    def __init__(
        self, info: dict, k: int = 16, d_hidden: int = 256, n_layers: int = 3, dropout: float = 0.1,
        d_token: int = 128, d_category: int = 8, word_dropout: float = 0.0, vectors: str | None = None,
        by_place: bool = False, numeric: str = "linear", d_number: int = 16, n_bins: int = 64,
        n_frequencies: int = 64, sigma: float = 1.0,
    ):  # fmt: skip
        of_numbers = (numeric, d_number, n_bins, n_frequencies, sigma)
        super().__init__(info, d_token, d_category, word_dropout, vectors, by_place, *of_numbers)
        if n_layers < 1:
            raise ValueError("TabM needs a layer: n_layers=1")
        widths = [self.d_flat] + [d_hidden] * n_layers
        self.layers = nn.ModuleList(SharedLinear(d_in, d_out, k) for d_in, d_out in pairwise(widths))
        signs = torch.randint(2, (k, len(self.sizes))).mul(2).sub(1).to(torch.get_default_dtype())
        factors = signs if self.numbers is None else torch.randn(k, len(self.sizes))
        with torch.no_grad():
            self.layers[0].scale_in.copy_(factors.repeat_interleave(torch.tensor(self.sizes), 1))
        self.dropout = nn.Dropout(dropout)
        bound = d_hidden**-0.5
        self.head_weight = nn.Parameter(torch.empty(k, d_hidden, info["n_outputs"]).uniform_(-bound, bound))
        self.head_bias = nn.Parameter(torch.empty(k, info["n_outputs"]).uniform_(-bound, bound))

    def each(self, x_num=None, x_cat=None, input_ids=None, attention_mask=None) -> Tensor:
        """Return the logits of each net: (B, k, n_outputs)."""
        x = self.flat(x_num, x_cat, input_ids, attention_mask)[:, None]  # (B, 1, d_flat)
        for layer in self.layers:
            x = self.dropout(layer(x).relu())  # (B, k, d_hidden)
        return torch.einsum("bki,kio->bko", x, self.head_weight) + self.head_bias

    def forward(self, x_num=None, x_cat=None, input_ids=None, attention_mask=None) -> Tensor:
        logits = self.each(x_num, x_cat, input_ids, attention_mask)
        if logits.shape[2] == 1:
            return logits.mean(1)
        return logits.log_softmax(2).logsumexp(1)  # up to a constant, which no probability sees


class LitTabM(LitModel):
    """Trains each of the k nets by its own loss: a loss of their mean would train one net."""

    def row_losses(self, batch: dict[str, Tensor]) -> Tensor:
        logits = self.net.each(**inputs_of(batch))  # (B, k, n_outputs)
        k = logits.shape[1]
        each = self.errors(logits.flatten(0, 1), batch["y"].repeat_interleave(k))  # (B k,)
        return each.unflatten(0, (-1, k)).mean(1)
