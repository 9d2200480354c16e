"""The metrics by name, without imports: a wrong name is refused before NumPy loads."""

from src.system.errors import UserError, nearest

CALIBRATIONS = ("temperature", "isotonic")
CLASSIFICATION = ("binary", "multiclass")
REGRESSION = ("regression",)
# name, also of its function in functions.py -> direction, the tasks that it is logged for, and whether it
# decides for a class, which a threshold changes
METRICS = {
    "accuracy": {"mode": "max", "tasks": CLASSIFICATION, "decides": True},
    "balanced_accuracy": {"mode": "max", "tasks": CLASSIFICATION, "decides": True},
    "f1": {"mode": "max", "tasks": CLASSIFICATION, "decides": True},
    "f1_macro": {"mode": "max", "tasks": CLASSIFICATION, "decides": True},
    "f1_binary": {"mode": "max", "tasks": ("binary",), "decides": True},
    "auroc": {"mode": "max", "tasks": CLASSIFICATION},
    "average_precision": {"mode": "max", "tasks": CLASSIFICATION},
    "mcc": {"mode": "max", "tasks": CLASSIFICATION, "decides": True},
    "log_loss": {"mode": "min", "tasks": CLASSIFICATION},
    "calibration_error": {"mode": "min", "tasks": CLASSIFICATION},
    "rmse": {"mode": "min", "tasks": REGRESSION},
    "mae": {"mode": "min", "tasks": REGRESSION},
    "r2": {"mode": "max", "tasks": REGRESSION},
    "spearman": {"mode": "max", "tasks": REGRESSION},
}
OTHERS = {  # our names, and those of other libraries
    "accuracy": "acc",
    "f1": "f1_score fscore f_score",
    "f1_macro": "f1_weighted macro_f1",
    "auroc": "roc_auc auc roc_auc_score",
    "average_precision": "pr_auc auprc auc_pr ap",
    "mcc": "matthews_corrcoef matthews",
    "log_loss": "logloss neg_log_loss cross_entropy crossentropy loss",
    "calibration_error": "ece",
    "rmse": "mse mean_squared_error root_mean_squared_error neg_mean_squared_error",
    "mae": "mean_absolute_error neg_mean_absolute_error l1",
    "r2": "r2_score r_squared",
    "spearman": "spearmanr",
}


def check_name(name: str, mode: str | None, task: str | None) -> None:
    """Refuse an unknown metric, and one of another task.

    task : a task, "classification" (not yet known how many classes), or None (nothing known yet)
    """
    if "." in name:
        if mode not in ("min", "max"):
            raise UserError(f"metric={name} is your own function: add metric_mode=max or metric_mode=min")
        return
    if name not in METRICS:
        known = f"{', '.join(METRICS)}, or my.module.fn with metric_mode=max"
        raise UserError(f"metric={name} is unknown{nearest(name, METRICS, OTHERS)}; known: {known}")
    tasks = set(CLASSIFICATION) if task == "classification" else {task}
    if task is not None and not tasks & set(METRICS[name]["tasks"]):
        choices = ", ".join(known for known, entry in METRICS.items() if tasks & set(entry["tasks"]))
        raise UserError(f"metric={name} is not a metric of a {task} task; choose one of {choices}")
    known = METRICS[name]["mode"]
    if mode not in (None, known):
        better_when = "higher" if known == "max" else "lower"
        raise UserError(f"metric={name} is better when {better_when}; leave metric_mode out")


def depends_on_threshold(name: str) -> bool:
    return name not in METRICS or METRICS[name].get("decides", False)
