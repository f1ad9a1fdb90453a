"""Which images are held out of training."""

import hashlib
from collections import Counter
from collections.abc import Sequence


def held_out(digests: Sequence[str], eval_fraction: float, split_seed: int) -> set[str]:
    """The sha256 of the images that go to the eval split, given those of all images.

    Byte-identical images are one group and go together. Groups are taken in the order of a hash of
    (seed, sha256) until round(eval_fraction * images) are reached. So the split depends on nothing
    but the images and the seed, and most images stay where they are when others are added.
    """
    wanted = round(eval_fraction * len(digests))
    group_sizes = Counter(digests)
    taken: set[str] = set()
    count = 0
    for digest in sorted(group_sizes, key=lambda digest: _draw(split_seed, digest)):
        if count >= wanted:
            break
        taken.add(digest)
        count += group_sizes[digest]
    return taken


def _draw(split_seed: int, digest: str) -> str:
    return hashlib.sha256(f"{split_seed} {digest}".encode()).hexdigest()
