"""Complete a command line of ``reprise``: verbs, their keys, names of runs and sweeps, choices of groups."""

import ast
import re

from src.config.shell import verbs
from src.config.tree import CONF, GROUPS, choices
from src.system.paths import CHECKOUT, outputs

BASH = r"""# eval "$(reprise --completion)" in ~/.bashrc
_reprise() {
    local IFS=$'\n' line="${COMP_LINE:0:COMP_POINT}"
    COMPREPLY=($(COMP_LINE="$line" reprise))
    [[ ${COMPREPLY[0]} == *= ]] && compopt -o nospace
    local word="${line##*[[:space:]]}"  # bash takes = for the end of a word
    [[ $word == *=* ]] && COMPREPLY=("${COMPREPLY[@]#"${word%=*}="}")
}
complete -F _reprise reprise"""
KEYS = {"": "train.yaml", "trainer.": "trainer/default.yaml", "dataset.": "dataset/_base.yaml"}
FOLDERS = {"run": ("runs", "t"), "runs": ("runs", "t"), "remove": ("runs", "t"), "sweep": ("sweeps", "s")}


def candidates(line: str) -> list[str]:
    """Return what may stand for the last word of a command line."""
    words = line.split(" ")
    if len(words) < 3:
        found = list(verbs())
    else:
        found = _of_train(words[-1]) if words[1] == "train" else _of_verb(words[1], words[-1])
    return sorted(word for word in found if word.startswith(words[-1]))


def _of_train(word: str) -> list[str]:
    key, equals, _ = word.partition("=")
    if equals:
        return [f"{key}={name}" for name in choices(key)] if key in GROUPS else []
    keys = [*GROUPS]
    for section, file in KEYS.items():
        keys += [section + line.partition(":")[0] for line in (CONF / file).read_text().splitlines()]
    return [f"{key}=" for key in keys if re.fullmatch(r"[\w.]+", key)] + ["--multirun", "--help"]


def _of_verb(verb: str, word: str) -> list[str]:
    """Return the keys of a verb, or the runs or sweeps that a key names; nothing is imported."""
    path = CHECKOUT / "src" / f"{verb}.py"
    if verb not in verbs():
        return []
    key, equals, value = word.partition("=")
    if equals:
        folder, letter = FOLDERS.get(key, (None, ""))
        before = value.rpartition(",")[0]
        start = f"{key}={before + ',' if before else ''}"
        names = (outputs() / folder).glob(f"{letter}[1-9]*") if folder else ()
        return [f"{start}{one.name}" for one in names if one.name not in before.split(",")]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    function = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == verb)
    return [f"{one.arg}=" for one in function.args.args if one.annotation] + ["--help"]
