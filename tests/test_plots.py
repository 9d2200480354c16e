"""Pictures, read off their axes and compared with scikit-learn; they reach the run's folder."""

import logging

import numpy as np
import pytest
from matplotlib.image import imread
from sklearn.calibration import calibration_curve
from sklearn.metrics import confusion_matrix, precision_recall_curve, roc_curve

from src import fit
from src.share import plots
from src.system.process import Child


def sample(n_classes: int, n: int = 400, seed: int = 0):
    """Targets and probabilities that are right more often than not: (n,), (n, n_classes)."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, n_classes, n)
    logits = rng.normal(size=(n, n_classes)) + 2 * np.eye(n_classes)[y]
    return y, np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


def test_curves_go_through_scikit_learn_s_points():
    y, p = sample(2)
    p = p.round(2)  # ties
    figure = plots.classification(y, p, ["no", "yes"])
    _, roc, curve, _ = figure.axes
    expected = roc_curve(y, p[:, 1], drop_intermediate=False)
    np.testing.assert_allclose(roc.lines[0].get_xydata(), np.column_stack(expected[:2]))
    precision, recall, _ = precision_recall_curve(y, p[:, 1])
    np.testing.assert_allclose(curve.lines[0].get_xydata(), np.column_stack([recall, precision])[::-1])
    (prevalence,) = set(curve.lines[1].get_ydata())
    assert prevalence == y.mean()


def test_confusion_matrix_counts():
    y, p = sample(3)
    axis = plots.classification(y, p, ["a", "b", "c"]).axes[0]
    shown = np.array([int(text.get_text()) for text in axis.texts]).reshape(3, 3)
    assert (shown == confusion_matrix(y, p.argmax(1))).all()


def test_calibration_dots():
    y, p = sample(2)
    axis = plots.classification(y, p, ["a", "b"]).axes[3]
    share, mean = calibration_curve(y, p[:, 1], n_bins=10)
    np.testing.assert_allclose(axis.collections[0].get_offsets(), np.column_stack([mean, share]))


def test_calibration_of_several_classes_is_that_of_the_predicted_one():
    y, p = sample(3)
    axis = plots.classification(y, p, ["a", "b", "c"]).axes[3]
    share, mean = calibration_curve(p.argmax(1) == y, p.max(1), n_bins=10)
    np.testing.assert_allclose(axis.collections[0].get_offsets(), np.column_stack([mean, share]))


def test_regression_dots_and_a_sample_of_many():
    rng = np.random.default_rng(0)
    y = rng.normal(size=plots.MAX_POINTS * 2)
    p = y + 0.1 * rng.normal(size=len(y))
    left, right = plots.regression(y[:50], p[:50]).axes
    assert {tuple(dot) for dot in left.collections[0].get_offsets()} == set(zip(y[:50], p[:50], strict=True))
    assert np.allclose(sorted(right.collections[0].get_offsets()[:, 1]), sorted(y[:50] - p[:50]))
    assert len(plots.regression(y, p).axes[0].collections[0].get_offsets()) == plots.MAX_POINTS


@pytest.mark.parametrize("absent", [False, True])
def test_many_classes_and_absent_ones(absent, tmp_path):
    y, p = sample(30)
    if absent:
        y, p = y[y > 4], p[y > 4]
    figure = plots.classification(y, p, [f"class number {k}" for k in range(30)])
    assert len(figure.axes[1].lines) == plots.MAX_CURVES + 1, "and the diagonal"
    figure.savefig(tmp_path / "classes.png")


@pytest.mark.parametrize("p", [np.array([[1.0, 0.0]]), np.array([[0.5, 0.5]])])
def test_one_row_is_a_picture(p, tmp_path):
    plots.classification(np.array([0]), p, ["a", "b"]).savefig(tmp_path / "one.png")
    plots.regression(np.array([1.0]), np.array([1.0])).savefig(tmp_path / "one.png")


def test_learning_curves():
    history = [{"epoch": k, "train/loss": 1 / k, "val/loss": 2 / k, "val/f1": k / 9} for k in (1, 2, 3)]
    left, right = plots.learning_curves(history, "f1", 2).axes
    assert [line.get_ydata()[-1] for line in left.lines[:2]] == [1 / 3, 2 / 3]
    assert right.lines[0].get_ydata()[0] == 1 / 9 and list(right.lines[1].get_xdata()) == [2, 2]


@pytest.mark.parametrize("dataset", ["wine", "diabetes"])
def test_pictures_of_a_run(outputs, dataset):
    run = fit(f"dataset={dataset}", "logger=csv", "trainer.max_epochs=2")
    for name in ("learning_curves", "test"):
        image = imread(run.folder / "plots" / f"{name}.png")
        assert image.shape[1] > 900 and image[..., :3].std() > 0.05, "not an empty sheet"


def test_a_model_without_epochs_has_no_learning_curves(outputs):
    run = fit("dataset=wine", "model=linear", "logger=csv")
    assert [path.name for path in (run.folder / "plots").iterdir()] == ["test.png"]


def test_dollars_and_control_characters_in_names_of_classes_are_drawn(tmp_path):
    """A dollar would begin a formula, which need not be one."""
    y, p = np.arange(60) % 3, np.random.default_rng(0).dirichlet(np.ones(3), 60)
    figure = plots.classification(y, p, ["$\\frac{$", "$5-$10", "a\nb\x1b\u202e"])
    figure.savefig(tmp_path / "test.png")
    shown = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert shown == [r"\$\frac{\$", r"\$5-\$10", r"a\nb\x1b\u202e"]


def test_pictures_that_cannot_be_drawn_are_one_sentence(tmp_path, caplog):
    painter = Child.reuse("src.share.plots")
    painter.send("draw", str(tmp_path))
    with caplog.at_level(logging.WARNING, "reprise"):
        assert painter.wait() is None
    reason = f"{tmp_path / 'report.json'} is missing"
    warnings = {record.getMessage() for record in caplog.records}
    assert warnings == {f"the pictures of {tmp_path.name} could not be drawn: {reason}"}
