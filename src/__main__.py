"""``python -m src``: the verbs, one line each."""

import ast
from pathlib import Path

VERBS = ("train", "resume", "replay", "etl", "diff", "pack", "unpack", "sync", "clean")


def verbs() -> str:
    """One line a verb: the first line of its file's docstring."""
    lines = []
    for name in VERBS:
        text = (Path(__file__).parent / f"{name}.py").read_text(encoding="utf-8")
        lines.append((ast.get_docstring(ast.parse(text)) or "").splitlines()[0])
    return "\n".join(lines)


if __name__ == "__main__":
    print(verbs())
