"""Time tokenizers: learn a vocabulary, then the token numbers of all rows.

    DATA_DIR=... python benchmarks/tokens.py

67,349 phrases of SST-2, aim 3 s, and 50,000 reads of core promoters, 70 letters each, aim 1 s. CPU seconds
are of all threads together: on a busy machine they change less than seconds.
"""

import time

import numpy as np
import pyarrow as pa

from src.config.compose import compose
from src.data import tokenizer
from src.data.load import load_frame

CASES = {  # tokenizers, dataset, its column, rows, kind, seconds that are the aim
    "SST-2": (("word", "whitespace", "bpe", "wordpiece"), "sst2", "sentence", 67_349, "text", 3),
    "DNA": (("char", "kmer", "bpe"), "prom_core_all", "sequence", 50_000, "dna", 1),
}


def main() -> None:
    print("| tokenizer | s | CPU s | aim |\n|---|---|---|---|")
    for case, (names, dataset, column, n, kind, aim) in CASES.items():
        frame = load_frame(compose([f"dataset={dataset}"])["dataset"])[0]
        texts = pa.array(frame[column].head(n).tolist(), pa.large_string())
        for name in names:
            options = {"min_count": 2, "max_vocab": None, "max_len": None, "kind": kind, "lower": True}
            options |= {"k": 6, "overlap": True, "truncate": "head", "special_tokens": False}
            options |= {"unknown_letters": "mask", "pretrained": None}
            tries = []
            for _ in range(2):
                began = time.perf_counter(), time.process_time()
                state = tokenizer.fit(texts, tokenizer=name, **options)
                ids, _mask = tokenizer.apply(state, [texts])
                tries.append((time.perf_counter() - began[0], time.process_time() - began[1]))
            seconds, cpu = np.min(tries, axis=0)
            print(f"| `{name}`, {len(ids):,} rows of {case} | {seconds:.2f} | {cpu:.2f} | ≤ {aim} |")


if __name__ == "__main__":
    main()
