"""A multilayer perceptron for any data: numbers as they are, categories embedded, tokens averaged."""

import torch
from torch import Tensor, nn

from src.model.embed import PlaceEmbedding, TokenEmbedding, masked_mean


class MLP(nn.Module):
    """Concatenated inputs, ``n_layers`` times Linear, ReLU, Dropout, then a linear head.

    Aligned sequences are read ``by_place``: each token counts at its place.

    **Shape**: x_num (B, F), x_cat (B, C), input_ids and attention_mask (B, T) -> logits (B, n_outputs)

    >>> info = {"n_num_features": 4, "cat_cardinalities": [3, 5], "vocab_size": 0, "n_outputs": 2}
    >>> MLP(info)(x_num=torch.zeros(8, 4), x_cat=torch.zeros(8, 2, dtype=torch.int64)).shape
    torch.Size([8, 2])
    """

    def __init__(
        self,
        info: dict,
        d_hidden: int = 256,
        n_layers: int = 2,
        dropout: float = 0.1,
        d_token: int = 128,
        d_category: int = 8,
        word_dropout: float = 0.0,
        vectors: str | None = None,
        by_place: bool = False,
    ):
        super().__init__()
        self.by_place = by_place
        d_in = info["n_num_features"]
        self.categories = nn.ModuleList(
            nn.Embedding(n, min(d_category, (n + 1) // 2)) for n in info["cat_cardinalities"]
        )
        d_in += sum(table.embedding_dim for table in self.categories)
        if info["vocab_size"]:
            if by_place:
                self.places = PlaceEmbedding(info["max_len"], info["vocab_size"], d_token)
            else:
                self.tokens = TokenEmbedding(info["vocab_size"], d_token, word_dropout, vectors)
            d_in += d_token
        layers = []
        for _ in range(n_layers):
            layers += [nn.Linear(d_in, d_hidden), nn.ReLU(), nn.Dropout(dropout)]
            d_in = d_hidden
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(d_in, info["n_outputs"])

    def forward(self, x_num=None, x_cat=None, input_ids=None, attention_mask=None) -> Tensor:
        inputs = [] if x_num is None else [x_num]
        if x_cat is not None:
            inputs += [table(x_cat[:, i]) for i, table in enumerate(self.categories)]  # each (B, its width)
        if input_ids is not None and self.by_place:
            inputs.append(self.places(input_ids, attention_mask))  # (B, d_token)
        elif input_ids is not None:
            inputs.append(masked_mean(*self.tokens(input_ids, attention_mask)))  # (B, d_token)
        return self.head(self.layers(torch.cat(inputs, 1)))
