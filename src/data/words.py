"""The words that keys of a dataset take, without imports: a typo is refused before pandas loads."""

import re

TASKS = ("classification", "regression")
SCALERS = ("standard", "quantile", "none")
TOKENIZERS = ("word", "whitespace", "char", "kmer", "bpe", "wordpiece", "hf")
SPLIT_BY = ("stratified", "random", "similarity")
TRUNCATE = ("head", "tail", "centre")  # which part of a longer row is kept
UNKNOWN_LETTERS = ("mask", "drop", "error")
GB1_SPLITS = ("one_vs_rest", "two_vs_rest", "three_vs_rest", "low_vs_high")
MOTIFS = ("place", "word")  # of dna_sample
SEQUENCE_AS = ("tfidf", "onehot")  # for scikit-learn
# kinds of a text column -> the letters of its sequences; IUPAC's codes, - is a gap, * a stop
NUCLEOTIDES = "RYSWKMBDHVN-"
KINDS = {"dna": f"ACGT{NUCLEOTIDES}", "rna": f"ACGU{NUCLEOTIDES}", "protein": "ACDEFGHIKLMNPQRSTVWYBJOUXZ*-"}
KINDS |= dict.fromkeys(("smiles", "text"))  # of any letters
# names that older runs have, too -> text to list of tokens
CUTTERS = {"whitespace": str.split, "words": re.compile(r"\w+|[^\w\s]").findall, "chars": list}
CUTTERS["word"] = CUTTERS["words"]
# letters of scripts that have no spaces between words: Chinese and Japanese; Thai, Lao, Myanmar and Khmer
CHINESE = "\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
THAI = "\u0e01-\u0eff\u1000-\u109f\u1780-\u17ff"
TARGET_TRANSFORMS = ("log", "quantile")
