"""A small transformer encoder, its block written out (pre-norm; Vaswani et al. 2017, Xiong et al. 2020)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from src.model.embed import Embed, angles, masked_mean, positions
from src.model.numeric import embed_numbers


class Attention(nn.Module):
    """Multi-head self-attention. **Shape**: x (B, T, D), mask (B, T), turns (T, hs // 2) -> (B, T, D)"""

    def __init__(self, d_token: int, n_heads: int, dropout: float):
        super().__init__()
        if d_token % n_heads:
            raise ValueError(f"d_token={d_token} is not a multiple of n_heads={n_heads}")
        self.n_heads, self.dropout = n_heads, dropout
        self.qkv = nn.Linear(d_token, 3 * d_token)
        self.out = nn.Linear(d_token, d_token)

    def forward(self, x: Tensor, mask: Tensor, turns: Tensor | None = None) -> Tensor:
        heads = self.qkv(x).unflatten(2, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4)  # (3, B, nh, T, hs)
        query, key, value = heads.unbind(0)
        if turns is not None:
            query, key = rotated(query, turns), rotated(key, turns)
        dropout = self.dropout if self.training else 0.0
        mask = mask[:, None, None, :]  # (B, 1, 1, T): for all heads and queries
        y = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
        return self.out(y.transpose(1, 2).flatten(2))  # (B, nh, T, hs) -> (B, T, D)


class Block(nn.Module):
    """x + attention, then x + feed-forward, each after a layer norm. **Shape**: (B, T, D) -> (B, T, D)"""

    def __init__(self, d_token: int, n_heads: int, d_hidden: int, dropout: float):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(d_token), nn.LayerNorm(d_token)
        self.attention = Attention(d_token, n_heads, dropout)
        self.mlp = nn.Sequential(
            nn.Linear(d_token, d_hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(d_hidden, d_token)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor, turns: Tensor | None = None) -> Tensor:
        x = x + self.dropout(self.attention(self.norm1(x), mask, turns))
        return x + self.dropout(self.mlp(self.norm2(x)))


class Transformer(nn.Module):
    """Tokens, ``n_blocks`` blocks, the mean of the tokens, a linear head.

    Text tokens get positions: sinusoidal, ``learned`` (Devlin et al. 2019) or ``rotary``, which turn queries
    and keys (Su et al. 2021). Columns of a table do not need them: each has its embedding.

    **Shape**: x_num (B, F), x_cat (B, C), input_ids and attention_mask (B, T) -> logits (B, n_outputs)

    >>> info = {"n_num_features": 4, "cat_cardinalities": [], "vocab_size": 0, "n_outputs": 1}
    >>> Transformer(info)(x_num=torch.zeros(8, 4)).shape
    torch.Size([8, 1])
    """

    def __init__(
        self, info: dict, d_token: int = 64, n_blocks: int = 2, n_heads: int = 4, d_hidden: int = 128,
        dropout: float = 0.1, token_dropout: float = 0.0, word_dropout: float = 0.0,
        vectors: str | None = None, rotary: bool = False, learned: bool = False, numeric: str = "linear",
        n_bins: int = 64, n_frequencies: int = 64, sigma: float = 1.0,
    ):  # fmt: skip
        super().__init__()
        if rotary and (learned or d_token // n_heads % 2):
            raise ValueError("rotary=true goes without learned, and with an even d_token / n_heads")
        self.n_heads, self.rotary = n_heads, rotary
        numbers = embed_numbers(info, numeric, d_token, n_bins, n_frequencies, sigma)
        self.embed = Embed(info, d_token, token_dropout, word_dropout, vectors, numbers)
        self.blocks = nn.ModuleList(Block(d_token, n_heads, d_hidden, dropout) for _ in range(n_blocks))
        self.norm = nn.LayerNorm(d_token)
        self.places = None
        if learned and info["vocab_size"]:
            self.places = nn.Parameter(torch.empty(info["max_len"], d_token).normal_(std=0.02))
        self.head = nn.Linear(d_token, info["n_outputs"])

    def forward(self, x_num=None, x_cat=None, input_ids=None, attention_mask=None) -> Tensor:
        x, mask = self.embed(x_num, x_cat, input_ids, attention_mask)  # (B, T, D)
        turns = None
        if input_ids is not None:
            n_text, n_columns = input_ids.shape[1], x.shape[1] - input_ids.shape[1]  # text is last
            if self.rotary:
                turns = F.pad(angles(n_text, x.shape[2] // self.n_heads, x), (0, 0, n_columns, 0))
            elif self.places is not None:
                x = x + F.pad(self.places, (0, 0, n_columns, n_text - len(self.places)))  # or cuts them
            else:
                x = x + F.pad(positions(n_text, x.shape[2], x), (0, 0, n_columns, 0))
        for block in self.blocks:
            x = block(x, mask, turns)
        return self.head(masked_mean(self.norm(x), mask))


def rotated(x: Tensor, turns: Tensor) -> Tensor:
    """Return x (B, nh, T, hs), its pairs of numbers turned by ``turns`` (T, hs // 2)."""
    left, right = x.chunk(2, -1)
    sin, cos = turns.sin(), turns.cos()
    return torch.cat([left * cos - right * sin, right * cos + left * sin], -1)
