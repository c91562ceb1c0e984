"""The sign-flip test of paired differences, for levels so small that Student's t would have to be trusted far out in its tail.

At equal seeds two equal models may change places, so that each difference is as likely as its negative. That alone makes the test
exact: no law of the differences is assumed.
"""

import itertools

import numpy as np

from levy_core.base.seeds import seed_of

EXACT = 14  # up to so many differences all flips are counted: 16,384
HITS = 100  # as large sums among random flips, after which p is known to a tenth
AT_LEVEL = 20  # such sums that are expected at p = level, before it is left at that
MOST = 40_000_000  # flips: levels under 5e-7 are not waited for
BLOCK = 20_000


def sign_flip_test(differences: np.ndarray, level: float) -> float:
    """p of a sum as large as that of ``differences`` [N] if each had either sign with probability one half.

    Args:
        differences: finite. level: in (0, 1): what p will be held against. Beyond 14 differences it is estimated from random flips, whose seed is a
            hash of the differences, by the sequential rule of Besag and Clifford (1991), "Sequential Monte Carlo p-values", which
            is a valid p at every number of flips.

    The smallest p is 2^-N. Equal differences of 0 have a p of 1.
    """
    differences = differences / (np.abs(differences).max() or 1.0)  # whose sums are finite
    n, total = len(differences), float(differences.sum())
    least = total - 1e-9 * float(np.abs(differences).sum())  # the sum itself, added up in another order
    if n <= EXACT:
        signs = np.array(list(itertools.product((1.0, -1.0), repeat=n)))
        return float(np.mean(signs @ differences >= least))
    rng = np.random.default_rng(seed_of("sign flips", *map(repr, differences.tolist())))
    hits, drawn, most = 0, 0, int(min(np.ceil(AT_LEVEL / level), MOST))
    while drawn < most:
        block = min(BLOCK, most - drawn)
        bits = np.unpackbits(np.frombuffer(rng.bytes(-(-block * n // 8)), np.uint8), count=block * n).reshape(block, n)
        found = np.flatnonzero(2 * (bits @ differences) - total >= least)
        if hits + len(found) >= HITS:
            return HITS / (drawn + int(found[HITS - hits - 1]) + 1)
        hits, drawn = hits + len(found), drawn + block
    return (hits + 1) / (drawn + 1)
