"""Show a run in a notebook: its history and predictions as DataFrames, its pictures."""

import base64
from html import escape
from pathlib import Path


def history(rows: list[dict]):
    """Return the rows of metrics.csv as a DataFrame, a row an epoch."""
    import pandas as pd

    frame = pd.DataFrame(rows)
    return frame.set_index("epoch") if rows else frame


def predictions(arrays: dict, info: dict):
    """Return a DataFrame of val and test: part, id, y, prediction and, of classes, ``p_<class>`` each."""
    import pandas as pd

    from src.data.target import class_names
    from src.run.predictor import predicted

    frames = []
    for part in ("val", "test"):
        y = arrays[f"{part}_y"]
        y = class_names(info)[y] if info["classes"] else y
        columns = {"part": part, "id": arrays[f"{part}_id"], "y": y}
        frames.append(pd.DataFrame(columns | predicted(arrays[f"{part}_p"], info)))
    return pd.concat(frames, ignore_index=True)


def html(run) -> str:
    """Return what a notebook shows of a `Run`: its metrics, or its last epochs, and its pictures."""
    from src.run.table import table

    parts = [f"<b>{escape(repr(run))}</b>"]
    if run.status == "done":
        parts.append(f"<pre>{escape(table(run))}</pre>")
    elif run.rows:
        parts.append(history(run.rows).tail(3).to_html(float_format="%.4f"))
    return "\n".join([*parts, run.plots._repr_html_()])


class Pictures(dict):
    """The pictures of a run, {"test": path, ...}; a notebook draws them."""

    def __init__(self, folder: Path):
        super().__init__({path.stem: path for path in sorted(folder.glob("[!.]*.png"))})

    def _repr_html_(self) -> str:
        images = []
        for name, path in self.items():
            content = base64.b64encode(path.read_bytes()).decode()
            images.append(f'<img alt="{name}" style="max-width: 100%" src="data:image/png;base64,{content}">')
        return "\n".join(images)
