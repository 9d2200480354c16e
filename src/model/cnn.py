"""A convolutional network over tokens (Kim 2014, CNNs for Sentence Classification)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from src.model.embed import Embed, masked_max


class CNN(nn.Module):
    """Tokens, parallel convolutions of several widths, the largest response of each filter, a linear head.

    **Shape**: x_num (B, F), x_cat (B, C), input_ids and attention_mask (B, T) -> logits (B, n_outputs)

    >>> info = {"n_num_features": 0, "cat_cardinalities": [], "vocab_size": 50, "n_outputs": 3}
    >>> input_ids = torch.tensor([[7, 8, 9], [7, 8, 0]])
    >>> CNN(info, n_filters=10)(input_ids=input_ids, attention_mask=input_ids > 0).shape
    torch.Size([2, 3])
    """

    def __init__(
        self, info: dict, d_token: int = 128, n_filters: int = 100, widths: tuple[int, ...] = (3, 4, 5),
        dropout: float = 0.3, token_dropout: float = 0.1, word_dropout: float = 0.0,
        vectors: str | None = None,
    ):  # fmt: skip
        super().__init__()
        self.embed = Embed(info, d_token, token_dropout, word_dropout, vectors)
        self.widths = widths
        self.convs = nn.ModuleList(nn.Conv1d(d_token, n_filters, width) for width in widths)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(n_filters * len(widths), info["n_outputs"])

    def forward(self, x_num=None, x_cat=None, input_ids=None, attention_mask=None) -> Tensor:
        tokens, mask = self.embed(x_num, x_cat, input_ids, attention_mask)  # (B, T, D)
        tokens = tokens * mask[:, :, None]  # padding becomes the zeros that lie beyond the edge
        pooled = []
        for width, conv in zip(self.widths, self.convs, strict=True):
            left = (width - 1) // 2
            padded = F.pad(tokens.transpose(1, 2), (left, width - 1 - left))  # (B, D, T + width - 1)
            responses = conv(padded).relu().transpose(1, 2)  # (B, n_filters, T) -> (B, T, n_filters)
            pooled.append(masked_max(responses, mask))  # (B, n_filters)
        return self.head(self.dropout(torch.cat(pooled, 1)))
