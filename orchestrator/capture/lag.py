"""How far behind its camera a decoder is, which neither the ledger nor the age of a frame shows.

Pictures that wait in the network's buffers are not old by any clock of ours: they become so once they are decoded.
"""

import math

# The quickest picture of the last one to two windows says how long the way takes at best. A camera's clock
# that is wrong by 50 millionths moves by 3 ms meanwhile.
WINDOW_S = 30.0


class Lag:
    """One connection's; times are in seconds."""

    def __init__(self) -> None:
        self._quickest_s = math.inf
        self._before_s = math.inf
        self._turn_s = -math.inf

    def of(self, pts_s: float, decoded_s: float) -> float:
        """By how much later this picture was decoded than the quickest one, by the stream's own time."""
        way_s = decoded_s - pts_s
        if decoded_s >= self._turn_s:
            self._before_s, self._quickest_s = self._quickest_s, math.inf
            self._turn_s = decoded_s + WINDOW_S
        self._quickest_s = min(self._quickest_s, way_s)
        return way_s - min(self._quickest_s, self._before_s)
