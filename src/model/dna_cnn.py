"""Residual convolutions over letters that keep where something is: promoters, splice sites, proteins."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from src.model.embed import Embed, masked_max, masked_mean


class DNACNN(nn.Module):
    """Tokens, residual convolutions, then what was found anywhere beside what was found where, an MLP.

    A motif that counts anywhere is read from the maximum and the mean over places; one that counts at its
    place from a map of ``d_place`` filters. Of ``stride`` neighbours the largest response to the first
    convolution goes on, which halves the time. Maps longer than ``n_places`` are averaged to fit. Dropout
    between convolutions cost MCC .04 on core promoters; without the hidden layer it was .015 less.

    **Shape**: x_num (B, F), x_cat (B, C), input_ids and attention_mask (B, T) -> logits (B, n_outputs)

    >>> info = {"n_num_features": 0, "cat_cardinalities": [], "vocab_size": 6, "max_len": 70, "n_outputs": 2}
    >>> input_ids = torch.randint(2, 6, (8, 70))
    >>> DNACNN(info)(input_ids=input_ids, attention_mask=input_ids > 0).shape
    torch.Size([8, 2])
    """

    def __init__(
        self, info: dict, d_token: int = 8, n_filters: int = 96, widths: tuple[int, ...] = (9, 5, 3),
        stride: int = 1, d_place: int = 32, n_places: int = 128, d_hidden: int = 0, dropout: float = 0.3,
        token_dropout: float = 0.0, word_dropout: float = 0.0, vectors: str | None = None,
    ):  # fmt: skip  (stride and d_hidden are off for runs that are older than these two options)
        super().__init__()
        self.embed = Embed(info, d_token, token_dropout, word_dropout, vectors)
        n_tokens = info["n_num_features"] + len(info["cat_cardinalities"]) + info.get("max_len", 0)
        self.stride, self.length = stride, -(-n_tokens // stride)
        self.pool = -(-self.length // n_places)  # neighbours that share a place
        sizes = [d_token] + [n_filters] * len(widths)
        self.convs = nn.ModuleList(
            nn.Conv1d(d_in, n_filters, width, padding="same")
            for d_in, width in zip(sizes, widths, strict=False)
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(n_filters) for _ in widths)
        self.place = nn.Conv1d(n_filters, d_place, 1)
        self.dropout = nn.Dropout(dropout)
        n_flat = d_place * -(-self.length // self.pool)
        n_found, hidden = 2 * n_filters + n_flat, nn.Identity()
        if d_hidden:
            hidden = nn.Sequential(nn.Linear(n_found, d_hidden), nn.ReLU(), nn.Dropout(dropout))
        self.hidden, self.head = hidden, nn.Linear(d_hidden or n_found, info["n_outputs"])

    def forward(self, x_num=None, x_cat=None, input_ids=None, attention_mask=None) -> Tensor:
        tokens, mask = self.embed(x_num, x_cat, input_ids, attention_mask)  # (B, T, D)
        x = tokens.transpose(1, 2) * mask[:, None, :]  # (B, D, T); padding is as what lies beyond the edge: 0
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            y = _normed(norm, conv(x), mask).relu() * mask[:, None, :]
            x = x + y if x.shape[1] == y.shape[1] else y  # (B, n_filters, T)
            if i == 0 and self.stride > 1:  # T becomes T / stride
                x = _pooled(x, self.stride)
                mask = _pooled(mask[:, None].to(x.dtype), self.stride)[:, 0] > 0
        tokens = x.transpose(1, 2)
        where = self.place(x).relu() * mask[:, None, :]  # (B, d_place, T)
        where = F.pad(where, (0, self.length - where.shape[2]))  # cuts what is longer: padding
        where = F.avg_pool1d(where, self.pool, ceil_mode=True)
        found = (masked_max(tokens, mask), masked_mean(tokens, mask), where.flatten(1))
        return self.head(self.hidden(self.dropout(torch.cat(found, 1))))


def _pooled(x: Tensor, stride: int) -> Tensor:
    """Return the largest of each ``stride`` neighbours: (B, C, T) -> (B, C, T / stride)."""
    return F.max_pool2d(x[:, :, None], (1, stride), ceil_mode=True)[:, :, 0]  # torch.export fixes T for 1d


def _normed(norm: nn.BatchNorm1d, x: Tensor, mask: Tensor) -> Tensor:
    """Return x (B, C, T) normalised; padding takes no part in a batch's mean and variance."""
    if not norm.training or mask.all():
        return norm(x)
    out = x.new_zeros(x.shape[0], x.shape[2], x.shape[1])  # (B, T, C)
    out[mask] = norm(x.transpose(1, 2)[mask])  # (tokens, C)
    return out.transpose(1, 2)
