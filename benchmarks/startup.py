"""Time whole commands: help, config and a typo against a bare Hydra app, runs against a typical template.

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
        quick = {"`--help`": ["--help"], "`--cfg job`": ["--cfg", "job"], "a typo": ["model.lrr=1"]}
        for name, arguments in quick.items():
            found = ratio([*train, *arguments], bare, folder, code=2 if name == "a typo" else 0)
            yield row(f"{name} against a bare Hydra app", *found, 1.2)
        scikit, torch = ["model=linear"], ["model=mlp", "trainer.max_epochs=5", "model.patience=null"]
        for name, overrides, limit in (("scikit-learn", scikit, 0.5), ("torch", torch, 0.65)):
            compared = ratio([*train, *overrides], template, folder)
            yield row(f"a {name} run, all trackers, against the template", *compared, limit)


if __name__ == "__main__":
    table("startup", HEAD, rows())
