"""Learning-rate schedules."""

import math

# name of model.schedule -> share of lr after the share of steps done
SCHEDULES = {
    "constant": lambda done: 1.0,
    "linear": lambda done: 1 - done,
    "cosine": lambda done: (1 + math.cos(math.pi * done)) / 2,
    "onecycle": lambda done: (  # up to 30%, then down to nearly nothing (Smith 2018)
        0.04 + 0.96 * (1 - math.cos(math.pi * done / 0.3)) / 2
        if done < 0.3
        else 1e-4 + (1 - 1e-4) * (1 + math.cos(math.pi * (done - 0.3) / 0.7)) / 2
    ),
}
