"""What a whole command costs: words against a bare Hydra app, runs against the usual template pattern.

python benchmarks/startup.py
"""

import sys
import tempfile
from pathlib import Path

from sides import HEAD, ratio, row

BARE = """
import hydra
@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg):
    print(cfg.a)
main()
"""


def main() -> None:
    python = sys.executable
    with tempfile.TemporaryDirectory() as folder:
        conf = Path(folder) / "conf"
        conf.mkdir()
        (conf / "config.yaml").write_text(f"a: 1\nhydra: {{run: {{dir: {folder}/bare}}}}\n")
        (Path(folder) / "bare.py").write_text(BARE)
        bare, template = [python, f"{folder}/bare.py"], [python, "benchmarks/template.py", folder]
        train = [python, "-m", "src.train"]
        print(HEAD)
        for words in (["--help"], ["--cfg", "job"], ["model.lrr=1"]):
            print(
                row(f"`{' '.join(words)}` / bare Hydra app, s", *ratio([*train, *words], bare, folder), 1.5), flush=True
            )
        scikit, torch = ["model=linear"], ["model=mlp", "trainer.max_epochs=5", "model.patience=null"]
        for name, words, limit in (("scikit-learn", scikit, 0.6), ("torch", torch, 0.85)):
            compared = ratio([*train, *words], template, folder)
            print(row(f"{name} run, all trackers / template, s", *compared, limit), flush=True)


if __name__ == "__main__":
    main()
