"""One retry policy for the whole house: exponential backoff with full jitter and a cap.

Full jitter (a uniform draw between 0 and the backoff) spreads a crowd of clients best: Brooker,
"Exponential Backoff and Jitter", 2015. Randomness comes in as an argument.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays in seconds before attempt 2, 3 and so on."""

    first_seconds: float = 0.05
    cap_seconds: float = 5.0
    factor: float = 2.0

    def delays(self, draw: Callable[[], float] = random.random) -> Iterator[float]:
        """Yield delays for ever; `draw` gives numbers in [0, 1). No delay is below a tenth of its bound."""
        bound = min(self.cap_seconds, self.first_seconds)
        while True:
            yield bound * (0.1 + 0.9 * draw())
            bound = min(self.cap_seconds, bound * self.factor)
