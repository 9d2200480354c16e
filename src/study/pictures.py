"""Pictures of a sweep as SVG for its page, most of them by Optuna."""

import io
import re
import warnings

import matplotlib
import pandas as pd

matplotlib.use("agg")  # no window
import optuna.visualization.matplotlib as draw
from matplotlib import pyplot as plt
from optuna.trial import TrialState

from src.study.trials import importances
from src.system.errors import log, one_line

STYLE = {
    "svg.fonttype": "none", "svg.hashsalt": "reprise", "figure.constrained_layout.use": True, "font.size": 10,
    "axes.grid": True, "axes.axisbelow": True, "grid.color": "#dddddd", "axes.edgecolor": "#999999",
    "axes.titlesize": 11, "legend.frameon": False,
}  # fmt: skip
plt.style.library["ggplot"] = STYLE  # which Optuna's pictures take
ADDRESSES = r'<metadata>.*?</metadata>| xmlns(:\w+)?="[^"]*"'  # SVG within a page does not need them
BLUE, ORANGE = "#3366aa", "#dd7722"


def lines(frame: pd.DataFrame, best: str, **options):
    """Draw the columns of a frame, the one of the ``best`` in orange."""
    axis = frame.plot(color=BLUE, alpha=0.5, linewidth=1, marker=".", markersize=4, legend=False, **options)
    return frame[best].plot(ax=axis, color=ORANGE, marker=".")


def of_study(study) -> list[str]:
    """Return pictures of a study, as far as it has trials and parameters for them."""
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    shares, names = importances(study), study.metric_names
    n, one = len(shares), {"target_name": names[0]} if len(names) == 1 else {}
    found = drawn(draw.plot_pareto_front, study, target_names=names) if done and not one else []
    for k, name in enumerate(names if len(done) > 1 else ()):
        target = one or {"target": lambda trial, k=k: trial.values[k], "target_name": name}
        found += drawn(draw.plot_optimization_history, study, **target)
        found += drawn(draw.plot_slice, study, **target, width=2 + 2 * max(n, 2)) if n else []
        found += drawn(draw.plot_contour, study, params=list(shares)[:2], **target) if n > 1 else []
    found += drawn(draw.plot_parallel_coordinate, study, **one, width=2 + 2 * max(n, 2)) if n else []
    bars = pd.Series(shares, dtype=float)[::-1].plot.barh
    found += drawn(bars, title="Importance (PED-ANOVA)", color=BLUE) if n > 1 else []
    return found


def drawn(function, *arguments, width: float = 6, **options) -> list[str]:
    """Return what ``function`` draws as SVG, [] if it fails: one picture stops no other.

    width : in inches; the height is 4
    """
    with plt.rc_context(STYLE), warnings.catch_warnings(action="ignore"):  # of functions that may yet change
        try:
            axes = function(*arguments, **options)
            figure = getattr(axes, "flat", [axes])[0].figure
            figure.set_size_inches(width, 4)
            figure.savefig(stream := io.StringIO(), format="svg", transparent=True)
        except Exception as error:
            log.warning("%s: %s", function.__name__, one_line(error))
            return []
        finally:
            plt.close("all")
    text = re.sub(ADDRESSES, "", stream.getvalue().partition("<svg")[2], flags=re.DOTALL)
    broad = 'class="broad" ' * (width > 6)  # on a phone six inches fit
    return [f'<svg {broad}style="min-width: {50 * width:.0f}px"{text}']
