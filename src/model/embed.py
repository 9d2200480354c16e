"""Torch's front door: any batch to tokens (B, T, D) and a mask (B, T); columns of a table are tokens, too."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from src.model.vectors import word_vectors


class Embed(nn.Module):
    """One token per numeric column (x * w + b), per categorical column (a row of a table) and per text token.

    info : its ``n_num_features``, ``cat_cardinalities`` and ``vocab_size`` tell which kinds of input there
        are
    d_token : width D of a token
    token_dropout, word_dropout : dropout on embeddings, and the share of text tokens left out whole (Iyyer et
        al. 2015), in training
    vectors : file of word vectors, see `TokenEmbedding`
    numbers : of `embed_numbers`, (B, F) -> (B, F, D), in place of x * w + b

    **Shape**: x_num (B, F), x_cat (B, C), input_ids (B, T) -> (B, F + C + T, D), (B, F + C + T)

    >>> embed = Embed({"n_num_features": 4, "cat_cardinalities": [3, 5], "vocab_size": 0}, d_token=16)
    >>> tokens, mask = embed(x_num=torch.zeros(8, 4), x_cat=torch.zeros(8, 2, dtype=torch.int64))
    >>> tokens.shape, mask.shape
    (torch.Size([8, 6, 16]), torch.Size([8, 6]))
    """

    def __init__(
        self, info: dict, d_token: int, token_dropout=0.0, word_dropout=0.0, vectors=None, numbers=None
    ):  # fmt: skip
        super().__init__()
        n_num, cardinalities = info["n_num_features"], info["cat_cardinalities"]
        bound = 1 / math.sqrt(d_token)
        self.numbers = numbers
        if n_num and numbers is None:
            self.num_weight = nn.Parameter(torch.empty(n_num, d_token).uniform_(-bound, bound))
            self.num_bias = nn.Parameter(torch.empty(n_num, d_token).uniform_(-bound, bound))
        if cardinalities:
            self.cat = nn.Embedding(sum(cardinalities), d_token)  # one table, each column at its offset
            nn.init.uniform_(self.cat.weight, -bound, bound)
            offsets = torch.tensor([0, *cardinalities[:-1]]).cumsum(0)
            self.register_buffer("cat_offsets", offsets, persistent=False)
        if info["vocab_size"]:
            self.tokens = TokenEmbedding(info["vocab_size"], d_token, word_dropout, vectors)
        self.dropout = nn.Dropout(token_dropout)

    def forward(self, x_num=None, x_cat=None, input_ids=None, attention_mask=None) -> tuple[Tensor, Tensor]:
        tokens, masks = [], []
        if x_num is not None:
            plain = self.numbers is None
            embedded = x_num[:, :, None] * self.num_weight + self.num_bias if plain else self.numbers(x_num)
            tokens.append(embedded)  # (B, F, D)
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

    vectors : a file of GloVe or word2vec, as text, where training begins for the words that it has

    **Shape**: input_ids (B, T), attention_mask (B, T) -> (B, T, D), (B, T)
    """

    def __init__(self, vocab_size: int, d_token: int, word_dropout: float = 0.0, vectors: str | None = None):
        super().__init__()
        self.table = nn.Embedding(vocab_size, d_token, padding_idx=0)
        nn.init.normal_(self.table.weight, std=0.1)
        nn.init.zeros_(self.table.weight[0])
        self.word_dropout, self.vectors = word_dropout, vectors

    @torch.no_grad()
    def start_from(self, data) -> None:
        """Copy the vectors of the vocabulary's words out of the file."""
        if self.vectors is not None:
            words = data.transforms["tokenizer"]["words"]
            for i, vector in word_vectors(self.vectors, words, self.table.embedding_dim).items():
                self.table.weight[i + 2] = torch.from_numpy(vector)  # 0 is padding, 1 an unknown word

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        mask = attention_mask
        if self.training and self.word_dropout:
            kept = mask & (torch.rand(mask.shape, device=mask.device) >= self.word_dropout)
            mask = torch.where(kept.any(1, keepdim=True), kept, mask)  # (B, T); never all words of a row
        return self.table(input_ids.int()) * mask[:, :, None], mask


class PlaceEmbedding(nn.Module):
    """The sum of a vector for each token at its place, as a linear layer on one-hot columns; to scale.

    Places that are the same in all training rows are left out: 4 of 265 decide in GB1, and the others made
    Spearman .80 of .88.

    **Shape**: input_ids (B, T), attention_mask (B, T) -> (B, D)
    """

    def __init__(self, max_len: int, vocab_size: int, d_token: int):
        super().__init__()
        self.vocab_size = vocab_size
        self.table = nn.Embedding(max_len * vocab_size, d_token)
        self.register_buffer("varies", torch.ones(max_len, dtype=torch.bool))

    @torch.no_grad()
    def start_from(self, data) -> None:
        input_ids = torch.from_numpy(data.parts["train"]["input_ids"])  # (n, T)
        self.varies[: input_ids.shape[1]] = (input_ids != input_ids[:1]).any(0)
        self.table.weight.uniform_(-1, 1).div_(math.sqrt(max(1, int(self.varies.sum()))))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        places = self.varies[: input_ids.shape[1]].nonzero()[:, 0]  # (P,), none in padding beyond max_len
        rows = places * self.vocab_size + input_ids[:, places]  # (B, P)
        return (self.table(rows) * attention_mask[:, places, None]).sum(1)


def masked_mean(tokens: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of the tokens that the mask keeps: (B, T, D), (B, T) -> (B, D)."""
    weight = mask[:, :, None].to(tokens.dtype)
    return (tokens * weight).sum(1) / weight.sum(1).clamp(min=1)


def masked_max(tokens: Tensor, mask: Tensor) -> Tensor:
    """Return the largest value of the tokens that the mask keeps: (B, T, D), (B, T) -> (B, D)."""
    return tokens.masked_fill(~mask[:, :, None], torch.finfo(tokens.dtype).min).amax(1)


def positions(n: int, d_token: int, like: Tensor) -> Tensor:
    """Return sinusoidal positions (Vaswani et al. 2017) for any length, on ``like``'s device: (n, D)."""
    angle = angles(n, d_token, like)
    return F.pad(torch.cat([angle.sin(), angle.cos()], 1), (0, d_token % 2))


def angles(n: int, d_token: int, like: Tensor) -> Tensor:
    """Return the angle of each place and frequency: (n, D // 2)."""
    half = torch.arange(d_token // 2, device=like.device, dtype=like.dtype)
    place = torch.arange(n, device=like.device, dtype=like.dtype)
    return place[:, None] * torch.exp(-half * math.log(1e4) * 2 / d_token)
