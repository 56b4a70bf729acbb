"""Whether a generator has failed: its images are all alike, or no better than noise.

Distances alone do not tell: the mean image is near to real ones in many features, and useless.
"""

from __future__ import annotations

from pneumo_cli.evaluation.generative.fidelity import Fidelity
from pneumo_cli.runtime.percentages import share

_LEAST_COVERED = 0.1
"""Share of what other real patients cover, below which images have collapsed."""
_LEAST_DIVERSE = 0.5
"""Of the diversity of real images."""


def failures(found: Fidelity) -> dict[str, str]:
    """A sentence for each set of generated images that has collapsed or is no better than noise, by its name.

    Empty where nothing could be measured, too.
    """
    sentences = {}
    for slug in found.samples if found.measured else ():
        row, real, noise = (found.measured[one] for one in (slug, "real", "noise"))
        who = "The generated images" if len(found.samples) == 1 else f"The images of {row.title}"
        covered, usual = row.manifold.coverage, real.manifold.coverage
        if row.kid.mean >= noise.kid.mean:
            sentences[slug] = f"{who} are no nearer to real ones than noise is."
        elif covered < _LEAST_COVERED * usual or row.diversity < _LEAST_DIVERSE * real.diversity:
            sentences[slug] = (
                f"{who} have collapsed: two of them differ {row.diversity:.2f} times as much as two real ones, and "
                f"they cover {share(covered)} of the real images' neighborhoods (other real patients: "
                f"{share(usual)})."
            )
    return sentences
