"""All inputs of a row side by side in one vector: the front of the nets for tables."""

import torch
from torch import Tensor, nn

from src.model.embed import PlaceEmbedding, TokenEmbedding, masked_mean
from src.model.numeric import embed_numbers


class Flat(nn.Module):
    """Numbers, embeddings of categories, and the mean of token embeddings; nets for tables inherit it.

    Aligned sequences are read ``by_place``: each token counts at its place. ``numeric`` and the arguments
    after it are those of `embed_numbers`.

    sizes : width of each column, and of the text; their sum is ``d_flat``

    **Shape**: of `flat`: x_num (B, F), x_cat (B, C), input_ids and attention_mask (B, T) -> (B, d_flat)
    """

    def __init__(
        self, info: dict, d_token: int, d_category: int, word_dropout: float, vectors: str | None,
        by_place: bool, numeric: str, d_number: int, n_bins: int, n_frequencies: int, sigma: float,
    ):  # fmt: skip
        super().__init__()
        self.by_place = by_place
        self.categories = nn.ModuleList(
            nn.Embedding(n, min(d_category, (n + 1) // 2)) for n in info["cat_cardinalities"]
        )
        if info["vocab_size"]:
            if by_place:
                self.places = PlaceEmbedding(info["max_len"], info["vocab_size"], d_token)
            else:
                self.tokens = TokenEmbedding(info["vocab_size"], d_token, word_dropout, vectors)
        self.numbers = embed_numbers(info, numeric, d_number, n_bins, n_frequencies, sigma)
        self.sizes = [1 if self.numbers is None else d_number] * info["n_num_features"]
        self.sizes += [table.embedding_dim for table in self.categories]
        self.sizes += [d_token] if info["vocab_size"] else []
        self.d_flat = sum(self.sizes)

    def flat(self, x_num=None, x_cat=None, input_ids=None, attention_mask=None) -> Tensor:
        inputs = []
        if x_num is not None:
            inputs.append(x_num if self.numbers is None else self.numbers(x_num).flatten(1))  # (B, F D)
        if x_cat is not None:
            inputs += [table(x_cat[:, i]) for i, table in enumerate(self.categories)]  # each (B, its width)
        if input_ids is not None and self.by_place:
            inputs.append(self.places(input_ids, attention_mask))  # (B, d_token)
        elif input_ids is not None:
            inputs.append(masked_mean(*self.tokens(input_ids, attention_mask)))  # (B, d_token)
        return torch.cat(inputs, 1)
