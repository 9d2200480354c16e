"""The words that keys of a dataset take, without imports: a typo is refused before pandas loads."""

import re

TASKS = ("classification", "regression")
SCALERS = ("standard", "quantile", "none")
# name of dataset.tokenizer -> text to list of tokens
TOKENIZERS = {"whitespace": str.split, "words": re.compile(r"\w+|[^\w\s]").findall, "chars": list}
