"""Card payments, simulated: what a customer buys, and what a thief does with a stolen card."""

import numpy as np
import pandas as pd

N = 2_000


def payments(seed):
    """Return a frame with a row for each payment, and True for each that is a fraud."""
    rng = np.random.default_rng(seed)
    fraud = rng.random(N) < 0.3  # as after a bank has left out the payments that are clearly honest
    rows = pd.DataFrame(
        {
            # A thief chooses these three.
            "amount": np.where(fraud, rng.lognormal(5.5, 0.5, N), rng.lognormal(4.0, 0.6, N)).round(2),
            "hour": np.where(fraud, rng.normal(3, 2, N), rng.normal(14, 4, N)).round().clip(0, 23).astype(int),
            "payments_today": 1 + rng.poisson(np.where(fraud, 3.0, 0.7)),
            # A thief cannot choose these three: the bank and the shop know them.
            "card_age_days": np.where(fraud, rng.exponential(60, N), rng.exponential(900, N)).round().astype(int),
            "known_device": rng.random(N) > np.where(fraud, 0.93, 0.05),
            "shop_risk": np.where(fraud, rng.beta(4, 3, N), rng.beta(2, 8, N)).round(3),
        }
    )
    return rows, pd.Series(fraud)
