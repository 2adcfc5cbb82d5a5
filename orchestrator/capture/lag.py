"""How far behind its camera a decoder is, which neither the ledger nor the age of a frame shows.

Pictures that wait in the network's buffers are not old by any clock of ours: they become so once they are decoded.
"""

import math

# The quickest picture of the last one to two windows says how long the way takes at best. A camera's clock
# that is wrong by 50 millionths moves by 3 ms meanwhile.
WINDOW_S = 30.0
# A stream this far behind, for so long, is inspected less often until it has caught up.
BEHIND_S = 0.25
STAYS_S = 0.5


class Lag:
    """One connection's; times are in seconds."""

    def __init__(self) -> None:
        self._quickest_s = math.inf
        self._before_s = math.inf
        self._turn_s = -math.inf

    def of(self, pts_s: float, decoded_s: float, *, waited: bool = True) -> float:
        """By how much later this picture was decoded than the quickest one, by the stream's own time.

        waited: the decoder waited for it. While it waits for none it has not caught up, and the quickest is remembered.
        """
        way_s = decoded_s - pts_s
        if waited and decoded_s >= self._turn_s:
            self._before_s, self._quickest_s = self._quickest_s, math.inf
            self._turn_s = decoded_s + WINDOW_S
        self._quickest_s = min(self._quickest_s, way_s)
        return way_s - min(self._quickest_s, self._before_s)


class Relief:
    """Leaves out every second frame that is due while the decoder stays behind, and needs what they would cost.

    Never more than that, for a congested network looks the same and is not helped by it. Nor where it is behind for a
    moment, which passes by itself.
    """

    def __init__(self) -> None:
        self._since_s = math.inf
        self._left_out = False

    def leaves_out(self, lag_s: float, now_s: float) -> bool:
        """Of each frame that is due. now_s is monotonic."""
        self._since_s = min(self._since_s, now_s) if lag_s > BEHIND_S else math.inf
        self._left_out = now_s - self._since_s >= STAYS_S and not self._left_out
        return self._left_out
