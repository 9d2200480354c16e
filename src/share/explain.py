"""Which letters or words a prediction rests on: change one, predict again (forward passes alone)."""

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import PathPatch
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D

from src.data.prepare import missing
from src.run.folder import Run
from src.run.rows import rows_of
from src.share.plots import BLUE, GREY, literal, save
from src.system.errors import UserError

LETTERS = {"dna": "ACGT", "rna": "ACGU", "protein": "ACDEFGHIKLMNPQRSTVWY"}
HIDDEN = {"dna": "N", "rna": "N", "protein": "X"}  # a letter that may be any; \ufffd, unknown, for others
COLOURS = {"A": "#109648", "C": "#255c99", "G": "#f7b32b", "T": "#d62839", "U": "#d62839"}
MAX_LETTERS = 64  # that a mutation tries, of a text that is read by letters
BATCH = 20_000  # changed rows that are predicted at once
BY = ("mutation", "occlusion")


def effects(run: Run, rows=None, n: int = 10, by: str | None = None) -> pd.DataFrame:
    """Return a row for each letter or word of each text: row, id, prediction, place, token, effect, to_A, ...

    effect : how much lower the score is without the token: the value of a regression, or the log-odds of the
        class that is predicted. By ``mutation`` it is the mean over all other letters, and ``to_A`` is the
        change that A makes; by ``occlusion`` a letter becomes an unknown one, and a word is left out.
    place : from 0
    rows : a file or a frame; None for the first ``n`` test rows of the run
    """
    predictor = run._predictor
    columns = predictor.transforms["roles"]["text"]
    if not columns:
        raise UserError(f"{run.name} reads no text and no sequence: there are no letters or words to change")
    frame = rows_of(run, "test").head(n) if rows is None else predictor.prepared(rows)[1].head(n)
    if columns[0] not in frame:
        raise UserError(missing(columns[:1], frame))
    kind, cut_up, letters = _reading(predictor.transforms["tokenizer"])
    ways = BY if letters else BY[1:]
    by = ways[0] if by is None else by
    if by not in ways:
        raise UserError(f"by={by}: should be {' or '.join(ways)} for {run.name}")
    tables, ids = [], predictor.ids(frame)
    for i, text in enumerate(frame[columns[0]].fillna("").astype(str)):
        tokens = cut_up(text)
        hidden = list(letters) if by == "mutation" else [HIDDEN.get(kind, "\ufffd") if letters else None]
        texts = [tokens] + [[*tokens[:t], a, *tokens[t + 1 :]] for t in range(len(tokens)) for a in hidden]
        texts = [("" if letters else " ").join(filter(None, one)) for one in texts]
        scores, prediction = _scores(predictor, frame.iloc[[i]], columns[0], texts)
        change = (scores[1:] - scores[0]).reshape(len(tokens), len(hidden))
        others = np.array(hidden)[None, :] != np.array(tokens, object)[:, None]  # (T, letters)
        effect = -(change * others).sum(1) / others.sum(1).clip(min=1)
        table = {"row": i, "id": ids[i], "prediction": prediction, "place": range(len(tokens))}
        table |= {"token": tokens, "effect": effect}
        if by == "mutation":
            table |= {f"to_{a}": change[:, k] for k, a in enumerate(hidden)}
        tables.append(pd.DataFrame(table))
    if not any(map(len, tables)):
        raise UserError(f"there is no letter and no word in {columns[0]} of these rows")
    return pd.concat(tables, ignore_index=True)


def _reading(state: dict):
    """Return the kind of a run's texts, a function that cuts one up, and their letters; "" for words."""
    kind = state.get("kind", "text")
    if kind == "text" and state["tokenizer"] not in ("char", "chars"):
        return kind, str.split, ""
    if kind in LETTERS:
        return kind, lambda text: list(text.upper()), LETTERS[kind]
    known = sorted(word for word in state["words"] if len(word) == 1)
    lower = kind == "text" and state["lower"]
    return kind, lambda text: list(text.lower() if lower else text), "".join(known)[:MAX_LETTERS]


def _scores(predictor, row: pd.DataFrame, column: str, texts: list[str]) -> tuple[np.ndarray, object]:
    """Return a score for each text in the row's column, and what is predicted for the first."""
    outputs = []
    for start in range(0, len(texts), BATCH):
        some = texts[start : start + BATCH]
        outputs.append(predictor.output(row.iloc[[0] * len(some)].assign(**{column: some})))
    p = np.concatenate(outputs)
    if p.ndim == 1:
        return p, float(f"{p[0]:.6g}")  # for people
    k = int(p[0].argmax())
    of_class = p[:, k].clip(1e-12, 1 - 1e-12)
    return np.log(of_class / (1 - of_class)), predictor.info["classes"][k]


def draw(table: pd.DataFrame, folder: Path) -> Path:
    """Draw sequences as logos above heat maps, and texts as bars: ``plots/explain.png`` in ``folder``."""
    rows = [one for _, one in table.groupby("row")]
    letters = [name for name in table if name.startswith("to_")]
    by_letter = bool(table["token"].str.len().max() == 1)
    n = 2 if letters else 1
    longest = max(map(len, rows))
    figure = Figure(figsize=(min(40, max(8, longest / 6)), len(rows) * (1.1 + 0.9 * n)), layout="constrained")
    heights = [2, 1 + len(letters) / 8] if letters else [1]
    axes = figure.subplots(n * len(rows), 1, squeeze=False, height_ratios=heights * len(rows))[:, 0]
    for i, one in enumerate(rows):
        axis = axes[n * i]
        axis.set_title(literal(f"{one['id'].iloc[0]}: {one['prediction'].iloc[0]}"), fontsize=8, loc="left")
        axis.spines[["top", "right"]].set_visible(False)
        logo(axis, one) if by_letter else bars(axis, one)
        if letters:
            heat_map(axes[n * i + 1], one[letters].to_numpy().T, [name[3:] for name in letters])
    return save(figure, folder, "explain")


def logo(axis, row: pd.DataFrame) -> None:
    """Draw each letter as high as its effect; letters that speak against the prediction hang head down."""
    for place, token, effect in zip(row["place"], row["token"], row["effect"], strict=True):
        if token.strip() and effect:  # a blank has no outline
            path, box = _outline(token)
            move = Affine2D().translate(-box.x0, -box.y0).scale(0.9 / box.width, effect / box.height)
            outline = path.transformed(move.translate(place - 0.45, 0))
            axis.add_patch(PathPatch(outline, color=COLOURS.get(token, BLUE), linewidth=0))
    low, high = min(0, row["effect"].min()), max(0, row["effect"].max())
    axis.set(xlim=(-0.6, len(row) - 0.4), ylim=(low * 1.05, high * 1.05 or 1), ylabel="effect")
    axis.axhline(0, color=GREY, linewidth=0.5)


@cache
def _outline(letter: str):
    """Return the outline of a letter, and its box."""
    path = TextPath((0, 0), literal(letter), size=1, prop=FontProperties(weight="bold"))
    return path, path.get_extents()


def bars(axis, row: pd.DataFrame) -> None:
    axis.bar(row["place"], row["effect"], color=[BLUE if x > 0 else GREY for x in row["effect"]])
    words = [literal(token) for token in row["token"]]
    axis.set_xticks(row["place"], words, rotation=45, ha="right", fontsize=7)
    axis.set(ylabel="effect")


def heat_map(axis, changes: np.ndarray, letters: list[str]) -> None:
    """Draw what each letter changes at each place, (letters, T): red lowers the score, blue raises it."""
    limit = max(float(np.abs(changes).max()), 1e-9)
    axis.imshow(changes, cmap="RdBu", vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
    axis.set_yticks(range(len(letters)), letters, fontsize=6)
    axis.set(ylabel="mutated to")
