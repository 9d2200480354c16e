"""What a whole command costs: words against a bare Hydra app, runs against the usual template pattern.

python benchmarks/startup.py
"""

import sys
import tempfile
from pathlib import Path

from sides import HEAD, ratio, row, table

BARE = """
import hydra
@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg):
    print(cfg.a)
main()
"""


def rows():
    python = sys.executable
    with tempfile.TemporaryDirectory() as folder:
        conf = Path(folder) / "conf"
        conf.mkdir()
        (conf / "config.yaml").write_text(f"a: 1\nhydra: {{run: {{dir: {folder}/bare}}}}\n")
        (Path(folder) / "bare.py").write_text(BARE)
        bare, template = [python, f"{folder}/bare.py"], [python, "benchmarks/template.py", folder]
        train = [python, "-m", "src.train"]
        for name, words in {"`--help`": ["--help"], "`--cfg job`": ["--cfg", "job"], "a typo": ["model.lrr=1"]}.items():
            yield row(f"{name} against a bare Hydra app", *ratio([*train, *words], bare, folder), 1.5)
        scikit, torch = ["model=linear"], ["model=mlp", "trainer.max_epochs=5", "model.patience=null"]
        for name, words, limit in (("scikit-learn", scikit, 0.6), ("torch", torch, 0.85)):
            compared = ratio([*train, *words], template, folder)
            yield row(f"a {name} run, all trackers, against the template", *compared, limit)


if __name__ == "__main__":
    table("startup", HEAD, rows())
