"""A bidirectional LSTM over tokens, max-pooled (Conneau et al. 2017)."""

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from src.model.embed import Embed, masked_max


class BiLSTM(nn.Module):
    """Tokens, ``n_layers`` of an LSTM in both directions, the largest value of each unit, a linear head.

    Rows are packed, so that the backward direction begins at a row's last token, not in its padding.

    **Shape**: x_num (B, F), x_cat (B, C), input_ids and attention_mask (B, T) -> logits (B, n_outputs)

    >>> info = {"n_num_features": 0, "cat_cardinalities": [], "vocab_size": 50, "n_outputs": 3}
    >>> input_ids = torch.tensor([[7, 8, 9], [7, 8, 0]])
    >>> BiLSTM(info, d_hidden=10)(input_ids=input_ids, attention_mask=input_ids > 0).shape
    torch.Size([2, 3])
    """

    def __init__(
        self, info: dict, d_token: int = 128, d_hidden: int = 128, n_layers: int = 1, dropout: float = 0.3,
        token_dropout: float = 0.3, word_dropout: float = 0.0, vectors: str | None = None,
    ):  # fmt: skip
        super().__init__()
        self.embed = Embed(info, d_token, token_dropout, word_dropout, vectors)
        options = {"batch_first": True, "bidirectional": True, "dropout": dropout if n_layers > 1 else 0.0}
        self.lstm = nn.LSTM(d_token, d_hidden, n_layers, **options)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * d_hidden, info["n_outputs"])

    def forward(self, x_num=None, x_cat=None, input_ids=None, attention_mask=None) -> Tensor:
        tokens, mask = self.embed(x_num, x_cat, input_ids, attention_mask)  # (B, T, D)
        place = torch.arange(1, mask.shape[1] + 1, device=mask.device)
        lengths = (mask * place).amax(1).clamp(min=1).cpu()  # (B,); dropped words are holes in the mask
        packed = pack_padded_sequence(tokens, lengths, batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=mask.shape[1])
        return self.head(self.dropout(masked_max(states, mask)))  # (B, T, 2 * d_hidden) -> (B, 2 * d_hidden)
