"""When a failed load is tried again. Pure."""

from __future__ import annotations

import random

_JITTER = 0.2


def retry_in_s(first_s: float, most_s: float, attempt: int, instance_id: str, random_seed: int) -> float:
    """Seconds until the next try after failed attempt number `attempt`, counted from 1.

    `first_s`, doubling up to `most_s`, less up to a fifth of it: instances that failed together do not come
    back together. The same seed, id and attempt give the same delay, in whatever order loads fail.
    """
    longest_s = min(most_s, first_s * 2.0 ** min(attempt - 1, 60))
    return longest_s * (1 - _JITTER * random.Random(f"{random_seed}:{instance_id}:{attempt}").random())
