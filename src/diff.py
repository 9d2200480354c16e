"""``python -m src.diff runs=t7,t9``: what differs between two runs, and in what they ended."""

import sys
from difflib import unified_diff

from src.config import shell
from src.run.compare import _files, causes, changed_files
from src.run.folder import Run
from src.system.errors import UserError

MAX_LINES = 200  # of code


def main() -> None:
    words = shell.verb("diff", sys.argv[1:])
    names = words["runs"].split(",")
    if len(names) != 2:
        raise UserError(f"runs={words['runs']}: name two runs, runs=t7,t9")
    print(side_by_side(*map(Run.open, names)))


def side_by_side(a: Run, b: Run) -> str:
    """Metrics of both, what differs around them, and the code as a diff."""
    lines = [f"{'':28}{a.name:>12}{b.name:>12}{'':>12}"]
    for key in dict.fromkeys([*a.report["metrics"], *b.report["metrics"]]):
        old, new = a.report["metrics"].get(key), b.report["metrics"].get(key)
        change = "" if old is None or new is None else f"{new - old:+.4f}" if old != new else "="
        lines.append(
            f"{key:28}" + "".join(f"{'' if x is None else format(x, '.4f'):>12}" for x in (old, new)) + f"{change:>12}"
        )
    lines += ["", *(causes(a, b) or ["config, code, data and environment are the same"])]
    code = []
    for name in changed_files(a, b):
        texts = (_files(run).get(name, b"").decode().splitlines() for run in (a, b))
        code += unified_diff(*texts, f"{a.name}/{name}", f"{b.name}/{name}", lineterm="")
    if len(code) > MAX_LINES:
        code = [*code[:MAX_LINES], f"... {len(code) - MAX_LINES} more lines"]
    return "\n".join([*lines, *(["", *code] if code else [])])


if __name__ == "__main__":
    shell.run(main)
