"""A pretrained encoder of Hugging Face: tuned whole, frozen below a head, or with LoRA (Hu et al. 2021)."""

import json
import os

import torch
from torch import Tensor, nn

from src.model.embed import Embed, masked_mean
from src.system.code import needed
from src.system.errors import UserError, one_line

NEEDS = {"extra": "hf", "what": "model=pretrained"}


class Pretrained(nn.Module):
    """The encoder, the mean of its last layer's tokens, a linear head; always in float32.

    It reads the tokens of its own tokenizer (``info["pretrained"]``) by its own embeddings. Other tokens get
    new ones, and so do columns of a table, a token each.

    path : a folder, or a name of the Hugging Face hub; read by a new fit alone, as ``info["encoder"]`` is its
        config and the run's weights are complete
    frozen : train the head alone
    lora : rank of the matrices that are trained in place of the encoder's own; 0 trains the encoder itself

    **Shape**: x_num (B, F), x_cat (B, C), input_ids and attention_mask (B, T) -> logits (B, n_outputs)
    """

    def __init__(
        self, info: dict, path: str | None = None, frozen: bool = False, lora: int = 0, dropout: float = 0.1
    ):
        super().__init__()
        self.path, self.frozen = path, frozen
        config = info.get("encoder") or self.describe(path)["encoder"]
        n_tokens = info["n_num_features"] + len(info["cat_cardinalities"]) + info["max_len"]
        if n_tokens > config.get("max_position_embeddings", n_tokens):
            limit = f"{path} has places for {config['max_position_embeddings']} tokens"
            raise UserError(f"{limit}, the data has {n_tokens}: lower dataset.max_len")
        transformers = _library()
        config = transformers.AutoConfig.for_model(**config)
        self.encoder = transformers.AutoModel.from_config(config, dtype=torch.float32)
        self.encoder.pooler = None  # where there is one, its output is not read: no gradient would reach it
        self.encoder.requires_grad_(not frozen)
        if lora:
            peft = needed("peft", **NEEDS)
            options = peft.LoraConfig(r=lora, lora_alpha=2 * lora, target_modules="all-linear")
            peft.inject_adapter_in_model(options, self.encoder)
        width = self.encoder.get_input_embeddings().embedding_dim
        if "pretrained" not in info:  # tokens of another tokenizer, or none
            n = info["vocab_size"]
            self.encoder.set_input_embeddings(nn.Embedding(n, width, padding_idx=0) if n else nn.Identity())
        self.columns = Embed(info | {"vocab_size": 0}, width)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, info["n_outputs"])

    def train(self, mode: bool = True):
        super().train(mode)
        self.encoder.train(mode and not self.frozen)  # a frozen encoder has no dropout
        return self

    @staticmethod
    def describe(path: str | None) -> dict:
        """Return what a run's info keeps of an encoder: {"encoder": its config as JSON}."""
        config = _read(_library().AutoConfig, path).to_dict()
        if config.get("is_encoder_decoder"):
            raise UserError(f"model.net.path={path} is an encoder with a decoder: name an encoder alone")
        return {"encoder": json.loads(json.dumps(config, default=str))}

    @torch.no_grad()
    def start_from(self, data) -> None:
        """Copy the pretrained weights; they are read as tensors alone, never as pickles."""
        model = _read(_library().AutoModel, self.path, dtype=torch.float32, use_safetensors=True)
        own = self.encoder.state_dict()
        for name, weight in model.state_dict().items():
            stem, _, leaf = name.rpartition(".")
            mine = own.get(name, own.get(f"{stem}.base_layer.{leaf}"))  # LoRA wraps its layer
            if mine is not None and mine.shape == weight.shape:
                mine.copy_(weight)

    def forward(self, x_num=None, x_cat=None, input_ids=None, attention_mask=None) -> Tensor:
        tokens, masks = [], []
        if x_num is not None or x_cat is not None:
            columns, mask = self.columns(x_num, x_cat)
            tokens, masks = [columns], [mask]
        if input_ids is not None:
            tokens.append(self.encoder.get_input_embeddings()(input_ids.int()))  # (B, T, D)
            masks.append(attention_mask)
        x, mask = torch.cat(tokens, 1), torch.cat(masks, 1)
        hidden = self.encoder(inputs_embeds=x, attention_mask=mask.long()).last_hidden_state  # (B, T, D)
        return self.head(self.dropout(masked_mean(hidden, mask)))


def _library():
    transformers = needed("transformers", **NEEDS)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers


def _read(cls, path: str | None, **options):
    """Return what ``cls`` reads from a folder or the hub; refuse what is neither in one sentence."""
    if not path:
        raise UserError("model=pretrained needs model.net.path=..., a folder or a name of the hub")
    try:
        return cls.from_pretrained(os.path.expanduser(path), **options)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"model.net.path={path} cannot be found or read: {one_line(error)}") from None
