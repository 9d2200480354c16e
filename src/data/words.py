"""The words that keys of a dataset take, without imports: a typo is refused before pandas loads."""

import re

TASKS = ("classification", "regression")
SCALERS = ("standard", "quantile", "none")
# name of dataset.tokenizer -> text to list of tokens
TOKENIZERS = {"whitespace": str.split, "words": re.compile(r"\w+|[^\w\s]").findall, "chars": list}
# letters of scripts that have no spaces between words: Chinese and Japanese; Thai, Lao, Myanmar and Khmer
CHINESE = "\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
THAI = "\u0e01-\u0eff\u1000-\u109f\u1780-\u17ff"
