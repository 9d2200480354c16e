"""A residual net for tables (Gorishniy et al. 2021)."""

from torch import Tensor, nn

from src.model.flat import Flat


class ResNet(Flat):
    """Concatenated inputs, a linear layer, ``n_blocks`` residual blocks, norm, ReLU, a linear head.

    The paper has batch norms in place of the layer norms, which train on a single row, too.

    **Shape**: x_num (B, F), x_cat (B, C), input_ids and attention_mask (B, T) -> logits (B, n_outputs)
    """

    def __init__(
        self, info: dict, d_hidden: int = 192, n_blocks: int = 3, d_block: int = 384, dropout: float = 0.2,
        d_token: int = 128, d_category: int = 8, word_dropout: float = 0.0, vectors: str | None = None,
        by_place: bool = False, numeric: str = "linear", d_number: int = 16, n_bins: int = 64,
        n_frequencies: int = 64, sigma: float = 1.0,
    ):  # fmt: skip
        of_numbers = (numeric, d_number, n_bins, n_frequencies, sigma)
        super().__init__(info, d_token, d_category, word_dropout, vectors, by_place, *of_numbers)
        self.first = nn.Linear(self.d_flat, d_hidden)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(d_hidden), nn.Linear(d_hidden, d_block), nn.ReLU(), nn.Dropout(dropout),
                nn.Linear(d_block, d_hidden),
            )
            for _ in range(n_blocks)
        )  # fmt: skip
        self.head = nn.Sequential(nn.LayerNorm(d_hidden), nn.ReLU(), nn.Linear(d_hidden, info["n_outputs"]))

    def forward(self, x_num=None, x_cat=None, input_ids=None, attention_mask=None) -> Tensor:
        x = self.first(self.flat(x_num, x_cat, input_ids, attention_mask))  # (B, d_hidden)
        for block in self.blocks:
            x = x + block(x)
        return self.head(x)
