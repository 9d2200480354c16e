"""From probabilities to decisions: a calibration and a threshold, learned on val when a fit is over."""

import numpy as np

from src.metric.functions import log_loss
from src.metric.words import depends_on_threshold
from src.system.errors import UserError

N_THRESHOLDS = 200  # at most, that a search for the best one tries


def check(metric: dict, info: dict, calibrate, threshold) -> None:
    """Refuse what `learn` cannot do for this target and this metric."""
    target, task = info["target"], info["task"]
    if calibrate and task == "regression":
        raise UserError(f"calibrate={calibrate} is for classes; {target} is a regression")
    if threshold is not None and task != "binary":
        raise UserError(f"threshold={threshold} is for two classes; {target} is a {task} target")
    if threshold == "tuned" and not depends_on_threshold(metric["name"]):
        raise UserError(f"threshold=tuned: {metric['name']} is the same for each threshold; choose metric=f1")


def learn(y: np.ndarray, p: np.ndarray, metric: dict, calibrate, threshold) -> dict:
    """Return what ``info`` gets of y (n,) and p (n, n_classes) of val: "calibration", "threshold".

    calibrate : null | temperature (Guo et al. 2017) | isotonic (each class by itself, then to sum 1)
    threshold : null | of the probability of class 1 | tuned, the best by ``metric``
    """
    found = {}
    if calibrate:
        found["calibration"] = {"temperature": _temperature, "isotonic": _isotonic}[calibrate](y, p)
    if threshold == "tuned":
        threshold = _tuned(y, calibrated(p, found)[:, 1], metric)
    return found | ({} if threshold is None else {"threshold": threshold})


def calibrated(p: np.ndarray, info: dict) -> np.ndarray:
    """Return p (n, n_classes) by the calibration in ``info``, if there is one."""
    state = info.get("calibration")
    if state is None:
        return p
    if "curves" in state:
        odds = np.stack([np.interp(p[:, k], *curve) for k, curve in enumerate(state["curves"])], 1)
    else:
        odds = np.clip(p, 1e-300, 1) ** (1 / state["temperature"])
    return odds / odds.sum(1, keepdims=True)


def decided(p: np.ndarray, threshold: float | None) -> np.ndarray:
    """Return p (n, 2), stretched so that what lay at the threshold lies at 1/2; the order stays.

    A metric of classes, or a user's own, that decides at 1/2 so decides at the threshold.
    """
    if threshold is None:
        return p
    high = p[:, 1] > threshold
    p_1 = np.where(high, 1 - p[:, 0] / (2 - 2 * threshold), p[:, 1] / (2 * threshold))
    return np.stack([1 - p_1, p_1], 1)


def _temperature(y, p) -> dict:
    from scipy.optimize import minimize_scalar  # here and below: only the runs that ask for it

    def loss(log_t: float) -> float:
        return log_loss(y, calibrated(p, {"calibration": {"temperature": np.exp(log_t)}}))

    # from 0.2 to 5: few val rows without an error would make every prediction sure
    return {"temperature": float(np.exp(minimize_scalar(loss, bounds=(-1.6, 1.6), method="bounded").x))}


def _isotonic(y, p) -> dict:
    from sklearn.isotonic import IsotonicRegression

    least = 1 / (len(y) + 2)  # no class is impossible
    curves = []
    for k, scores in enumerate(p.T):
        curve = IsotonicRegression(y_min=least, y_max=1 - least).fit(scores, y == k)
        curves.append([curve.X_thresholds_.tolist(), curve.y_thresholds_.tolist()])
    return {"curves": curves}


def _tuned(y, p_1, metric: dict) -> float:
    """Return the threshold with the best metric; of equal ones the nearest to 1/2."""
    values = np.unique(p_1)
    between = np.append((values[1:] + values[:-1]) / 2, 0.5)
    some = between[np.unique(np.linspace(0, len(between) - 1, N_THRESHOLDS).astype(int))]
    sign, p = 1 if metric["mode"] == "max" else -1, np.stack([1 - p_1, p_1], 1)
    scores = [(sign * metric["fn"](y, decided(p, t)), -abs(t - 0.5), t) for t in some]
    return float(max((one for one in scores if one[0] == one[0]), default=(0, 0, 0.5))[2])  # without nan
