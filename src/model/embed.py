"""Torch's front door: any batch to tokens (B, T, D) and a mask (B, T); columns of a table are tokens, too."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Embed(nn.Module):
    """One token per numeric column (x * w + b), per categorical column (a row of a table) and per text token.

    Parameters
    ----------
    info : dict
        its ``n_num_features``, ``cat_cardinalities`` and ``vocab_size`` tell which kinds of input there are.
    d_token : int
        width D of a token.
    token_dropout, word_dropout : float
        dropout on embeddings, and the share of text tokens left out whole (Iyyer et al. 2015), in training.

    **Shape**: x_num (B, F), x_cat (B, C), input_ids (B, T) -> (B, F + C + T, D), (B, F + C + T)

    >>> embed = Embed({"n_num_features": 4, "cat_cardinalities": [3, 5], "vocab_size": 0}, d_token=16)
    >>> tokens, mask = embed(x_num=torch.zeros(8, 4), x_cat=torch.zeros(8, 2, dtype=torch.int64))
    >>> tokens.shape, mask.shape
    (torch.Size([8, 6, 16]), torch.Size([8, 6]))
    """

    def __init__(self, info: dict, d_token: int, token_dropout: float = 0.0, word_dropout: float = 0.0):
        super().__init__()
        n_num, cardinalities = info["n_num_features"], info["cat_cardinalities"]
        bound = 1 / math.sqrt(d_token)
        if n_num:
            self.num_weight = nn.Parameter(torch.empty(n_num, d_token).uniform_(-bound, bound))
            self.num_bias = nn.Parameter(torch.empty(n_num, d_token).uniform_(-bound, bound))
        if cardinalities:
            self.cat = nn.Embedding(sum(cardinalities), d_token)  # one table, each column at its offset
            nn.init.uniform_(self.cat.weight, -bound, bound)
            offsets = torch.tensor([0, *cardinalities[:-1]]).cumsum(0)
            self.register_buffer("cat_offsets", offsets, persistent=False)
        if info["vocab_size"]:
            self.tokens = TokenEmbedding(info["vocab_size"], d_token, word_dropout)
        self.dropout = nn.Dropout(token_dropout)

    def forward(self, x_num=None, x_cat=None, input_ids=None, attention_mask=None) -> tuple[Tensor, Tensor]:
        tokens, masks = [], []
        if x_num is not None:
            tokens.append(x_num[:, :, None] * self.num_weight + self.num_bias)  # (B, F, D)
        if x_cat is not None:
            tokens.append(self.cat(x_cat + self.cat_offsets))  # (B, C, D)
        masks += [t.new_ones(t.shape[:2], dtype=torch.bool) for t in tokens]  # columns are always there
        if input_ids is not None:
            embedded, mask = self.tokens(input_ids, attention_mask)
            tokens.append(embedded)
            masks.append(mask)
        return self.dropout(torch.cat(tokens, 1)), torch.cat(masks, 1)


class TokenEmbedding(nn.Module):
    """Text tokens to vectors; padding, and in training a share of the words, become zeros outside the mask.

    **Shape**: input_ids (B, T), attention_mask (B, T) -> (B, T, D), (B, T)
    """

    def __init__(self, vocab_size: int, d_token: int, word_dropout: float = 0.0):
        super().__init__()
        self.table = nn.Embedding(vocab_size, d_token, padding_idx=0)
        nn.init.normal_(self.table.weight, std=0.1)
        nn.init.zeros_(self.table.weight[0])
        self.word_dropout = word_dropout

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        mask = attention_mask
        if self.training and self.word_dropout:
            kept = mask & (torch.rand(mask.shape, device=mask.device) >= self.word_dropout)
            mask = torch.where(kept.any(1, keepdim=True), kept, mask)  # (B, T); never all words of a row
        return self.table(input_ids.int()) * mask[:, :, None], mask


def masked_mean(tokens: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of the tokens that the mask keeps: (B, T, D), (B, T) -> (B, D)."""
    weight = mask[:, :, None].to(tokens.dtype)
    return (tokens * weight).sum(1) / weight.sum(1).clamp(min=1)


def masked_max(tokens: Tensor, mask: Tensor) -> Tensor:
    """Return the largest value of the tokens that the mask keeps: (B, T, D), (B, T) -> (B, D)."""
    return tokens.masked_fill(~mask[:, :, None], torch.finfo(tokens.dtype).min).amax(1)


def positions(n: int, d_token: int, like: Tensor) -> Tensor:
    """Return sinusoidal positions (Vaswani et al. 2017) for any length, on ``like``'s device: (n, D)."""
    half = torch.arange(d_token // 2, device=like.device, dtype=like.dtype)
    place = torch.arange(n, device=like.device, dtype=like.dtype)
    angle = place[:, None] * torch.exp(-half * math.log(1e4) * 2 / d_token)  # (n, D // 2)
    return F.pad(torch.cat([angle.sin(), angle.cos()], 1), (0, d_token % 2))
