"""A convolutional network over tokens (Kim 2014, "Convolutional Neural Networks for Sentence Classification")."""

import torch
from torch import Tensor, nn

from src.model.embed import Embed, masked_max


class CNN(nn.Module):
    """Tokens, convolutions of several widths side by side, the largest response of each filter, a linear head.

    **Shape**: any of x_num (B, F), x_cat (B, C), input_ids with attention_mask (B, T) -> logits (B, n_outputs).
    """

    def __init__(
        self,
        info: dict,
        d_token: int = 128,
        n_filters: int = 100,
        widths: tuple[int, ...] = (3, 4, 5),
        dropout: float = 0.3,
        token_dropout: float = 0.1,
        word_dropout: float = 0.0,
    ):
        super().__init__()
        self.embed = Embed(info, d_token, token_dropout, word_dropout)
        self.widths = widths
        self.convs = nn.ModuleList(nn.Conv1d(d_token, n_filters, width) for width in widths)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(n_filters * len(widths), info["n_outputs"])

    def forward(self, x_num=None, x_cat=None, input_ids=None, attention_mask=None) -> Tensor:
        tokens, mask = self.embed(x_num, x_cat, input_ids, attention_mask)  # (B, T, D)
        tokens = tokens * mask[:, :, None]  # padding reads as the zeros beyond the edge
        pooled = []
        for width, conv in zip(self.widths, self.convs, strict=True):
            left = (width - 1) // 2
            padded = nn.functional.pad(tokens.transpose(1, 2), (left, width - 1 - left))  # (B, D, T + width - 1)
            pooled.append(masked_max(conv(padded).relu().transpose(1, 2), mask))
        return self.head(self.dropout(torch.cat(pooled, 1)))
