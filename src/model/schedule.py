"""Learning-rate schedules, printable: which there are, and what each does."""

import math

# name of model.schedule -> from the share of steps done to the share of lr
SCHEDULES = {
    "constant": lambda done: 1.0,
    "linear": lambda done: 1 - done,
    "cosine": lambda done: (1 + math.cos(math.pi * done)) / 2,
    "onecycle": lambda done: (  # rises for 30% of the steps, then falls to nearly 0 (Smith 2018)
        0.04 + 0.96 * (1 - math.cos(math.pi * done / 0.3)) / 2
        if done < 0.3
        else 1e-4 + (1 - 1e-4) * (1 + math.cos(math.pi * (done - 0.3) / 0.7)) / 2
    ),
}
