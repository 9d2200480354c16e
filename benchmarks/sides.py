"""Time two commands alternately, A B A B ..., so that other load hits both; write the README tables."""

import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent


def seconds(command: list[str], folder: str, code: int = 0) -> float:
    """Return the wall seconds of a whole process; one that ends with another exit code ends the benchmark."""
    began = time.perf_counter()
    done = subprocess.run(
        command, cwd=CHECKOUT, capture_output=True, text=True, env=os.environ | {"OUTPUTS_DIR": folder}
    )
    took = time.perf_counter() - began
    if done.returncode != code:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return took


def ratio(ours: list[str], theirs: list[str], folder: str, code: int = 0, pairs: int = 5) -> tuple:
    """Return the median seconds of both and the ratio of each pair; a first run of each is not counted.

    code : the exit code of ``ours``, 2 of a typo
    """
    rows = [(seconds(ours, folder, code), seconds(theirs, folder)) for _ in range(pairs + 1)][1:]
    a, b = (statistics.median(side) for side in zip(*rows, strict=True))
    return a, b, [x / y for x, y in rows]


def row(name: str, a: float, b: float, ratios: list[float], limit: float) -> str:
    """Return one line of a table with `HEAD`: name, ours, theirs, median ratio, its range, the aim."""
    spread = f"{statistics.median(ratios):.2f} | {min(ratios):.2f}-{max(ratios):.2f}"
    return f"| {name} | {a:.2f} | {b:.2f} | {spread} | ≤ {limit} |"


HEAD = "| seconds | Reprise | compared | ratio, median | range | aim |\n|---|---|---|---|---|---|"


def table(name: str, head: str, rows: Iterable[str]) -> None:
    """Print a Markdown table row by row, then write it between its markers in README.md, here or one up.

    With arguments only a part was measured: the files stay as they are.
    """
    lines = [head]
    print(head, flush=True)
    for line in rows:
        lines.append(line)
        print(line, flush=True)
    if sys.argv[1:]:
        return
    place = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
    text = "\n".join(lines) + "\n"
    for readme in (CHECKOUT / "README.md", CHECKOUT / "benchmarks" / "README.md"):
        filled = place.sub(lambda match: f"{match[1]}{text}{match[2]}", readme.read_text(encoding="utf-8"))
        readme.write_text(filled, encoding="utf-8")
