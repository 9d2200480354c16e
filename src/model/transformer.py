"""A small transformer encoder, its block written out (pre-norm; Vaswani et al. 2017, Xiong et al. 2020)."""

import torch  # noqa: F401  for the example of Transformer
from torch import Tensor, nn
from torch.nn import functional as F

from src.model.embed import Embed, masked_mean, positions


class Attention(nn.Module):
    """Multi-head self-attention. **Shape**: x (B, T, D), mask (B, T) -> (B, T, D)"""

    def __init__(self, d_token: int, n_heads: int, dropout: float):
        super().__init__()
        if d_token % n_heads:
            raise ValueError(f"d_token={d_token} is not a multiple of n_heads={n_heads}")
        self.n_heads, self.dropout = n_heads, dropout
        self.qkv = nn.Linear(d_token, 3 * d_token)
        self.out = nn.Linear(d_token, d_token)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        heads = self.qkv(x).unflatten(2, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4)  # (3, B, nh, T, hs)
        query, key, value = heads.unbind(0)
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

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = x + self.dropout(self.attention(self.norm1(x), mask))
        return x + self.dropout(self.mlp(self.norm2(x)))


class Transformer(nn.Module):
    """Tokens, ``n_blocks`` blocks, the mean of the tokens, a linear head.

    Text tokens get sinusoidal positions. Columns of a table do not need them: each has its embedding.

    **Shape**: x_num (B, F), x_cat (B, C), input_ids and attention_mask (B, T) -> logits (B, n_outputs)

    >>> info = {"n_num_features": 4, "cat_cardinalities": [], "vocab_size": 0, "n_outputs": 1}
    >>> Transformer(info)(x_num=torch.zeros(8, 4)).shape
    torch.Size([8, 1])
    """

    def __init__(
        self,
        info: dict,
        d_token: int = 64,
        n_blocks: int = 2,
        n_heads: int = 4,
        d_hidden: int = 128,
        dropout: float = 0.1,
        token_dropout: float = 0.0,
        word_dropout: float = 0.0,
    ):
        super().__init__()
        self.embed = Embed(info, d_token, token_dropout, word_dropout)
        self.blocks = nn.ModuleList(Block(d_token, n_heads, d_hidden, dropout) for _ in range(n_blocks))
        self.norm = nn.LayerNorm(d_token)
        self.head = nn.Linear(d_token, info["n_outputs"])

    def forward(self, x_num=None, x_cat=None, input_ids=None, attention_mask=None) -> Tensor:
        x, mask = self.embed(x_num, x_cat, input_ids, attention_mask)  # (B, T, D)
        if input_ids is not None:
            n_text, d_token = input_ids.shape[1], x.shape[2]
            x = x + F.pad(positions(n_text, d_token, x), (0, 0, x.shape[1] - n_text, 0))  # text is last
        for block in self.blocks:
            x = block(x, mask)
        return self.head(masked_mean(self.norm(x), mask))
