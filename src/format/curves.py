"""Curves in ONNX, in float64: lines between points, and the inverse of the normal distribution."""

import numpy as np

from src.format.trees import added

INT = 7  # of onnx
# ndtri of Cephes: a ratio of polynomials near the middle, another for the tails; highest power first
MIDDLE = (
    (-59.9633501014107895267, 98.0010754185999661536, -56.6762857469070293439, 13.9312609387279679503,
     -1.23916583867381258016),
    (1, 1.95448858338141759834, 4.67627912898881538453, 86.3602421390890590575, -225.462687854119370527,
     200.260212380060660359, -82.0372256168333339912, 15.9056225126211695515, -1.18331621121330003142),
)  # fmt: skip
TAILS = (
    (4.05544892305962419923, 31.5251094599893866154, 57.1628192246421288162, 44.0805073893200834700,
     14.6849561928858024014, 2.18663306850790267539, -0.140256079171354495875, -0.0350424626827848203418,
     -8.57456785154685413611e-4),
    (1, 15.7799883256466749731, 45.3907635128879210584, 41.3172038254672030440, 15.0425385692907503408,
     2.50464946208309415979, -0.142182922854787788574, -0.0380806407691578277194, -9.33259480895457427372e-4),
)  # fmt: skip


def normal(graph, x: str, quantiles: list) -> str:
    """Add `src.data.columns._to_normal` of each column of ``x`` (n, F)."""
    curves = []
    for one in map(np.array, quantiles):
        levels, points = np.linspace(0, 1, len(one)), np.unique(one)
        down = -np.interp(-points, -one[::-1], -levels[::-1])
        at = (np.interp(points, one, levels) + down) / 2
        if len(points) == 1:
            levels = np.full(len(one), 0.5)
        curves.append((one, levels, at))
    level = graph("Clip", interpolated(graph, x, curves), np.float64(1e-7), np.float64(1 - 1e-7))
    return _inverse(graph, level)


def interpolated(graph, x: str, curves: list) -> str:
    """Add for each column of ``x`` (n, F) its curve: (places, heights, heights at the different places).

    A tree for each column finds the piece: below, at or between the places. Its number is exact in float32.
    """
    trees, pieces, first = [], [], []
    for i, (places, heights, at) in enumerate(curves):
        points = np.unique(places)
        own = np.zeros((2 * len(points) + 1, 3))  # slope, place, height
        own[0, 2], own[-1, 2], own[1::2, 2] = heights[0], heights[-1], at
        left = heights[np.searchsorted(places, points, "right") - 1][:-1]
        right = heights[np.searchsorted(places, points, "left")][1:]
        own[2:-1:2] = np.stack([(right - left) / np.diff(points), points[:-1], left], 1)
        first.append(sum(map(len, pieces)))
        pieces.append(own)
        cuts = np.stack([np.nextafter(points, -np.inf), points], 1).ravel()
        trees.append({"rows": _search(cuts, i), "targets": [i]})
    number = graph("Cast", added(graph, trees, x, len(curves)), to=INT)
    number = graph("Add", number, np.array(first, np.int64))  # (n, F)
    slope, place, height = (graph("Gather", column.copy(), number) for column in np.concatenate(pieces).T)
    return graph("Add", graph("Mul", slope, graph("Sub", x, place)), height)


def _search(cuts: np.ndarray, column: int) -> list[list]:
    """Return the rows of a tree that counts the ``cuts``, ascending, below the cell of a column."""
    rows, waiting = [[]], [(0, 0, len(cuts))]
    while waiting:
        at, low, high = waiting.pop()
        if low == high:
            rows[at] = [0, 0, 0, 0, 0, (low,)]
            continue
        middle, n = (low + high) // 2, len(rows)
        rows[at] = [column, cuts[middle], n, n + 1, 0, ()]
        rows += [[], []]
        waiting += [(n, low, middle), (n + 1, middle + 1, high)]
    return rows


def _inverse(graph, p: str) -> str:
    """Add the inverse of the normal distribution, for ``p`` from 1e-13 to 1 - 1e-13."""

    def ratio(x: str, over: tuple, under: tuple) -> str:
        pair = []
        for first, *others in (over, under):
            total = np.float64(first)
            for value in others:
                total = graph("Add", graph("Mul", x, total), np.float64(value))
            pair.append(total)
        return graph("Div", *pair)

    centred = graph("Sub", p, np.float64(0.5))
    square = graph("Mul", centred, centred)
    bent = graph("Mul", graph("Mul", square, centred), ratio(square, *MIDDLE))
    middle = graph("Mul", graph("Add", centred, bent), np.float64(np.sqrt(2 * np.pi)))
    least = graph("Min", p, graph("Sub", np.float64(1), p))
    far = graph("Sqrt", graph("Mul", graph("Log", least), np.float64(-2)))
    near = graph("Reciprocal", far)
    tail = graph("Sub", graph("Mul", near, graph("Add", graph("Log", far), ratio(near, *TAILS))), far)
    tail = graph("Mul", tail, graph("Neg", graph("Sign", centred)))
    return graph("Where", graph("Greater", least, np.float64(np.exp(-2))), middle, tail)
