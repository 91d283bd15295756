"""How much a figure differs when nothing has changed: the 95 % limit between two measurements, from repeated ones.

Within-subject standard deviation pooled over subjects (Bland and Altman 1996, BMJ 313:41 and 313:744), times sqrt(2)
for a difference of two. The usual factor 1.96 takes that deviation for known; from few repetitions it is itself
uncertain, and Student's t of its degrees of freedom says by how much: 12.7 from one pair, 2.1 from twenty.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from processing.errors import InvalidValueError


@dataclass(frozen=True)
class Repeatability:
    """limit: 95 % of repeated measurements differ by less, in the unit of the values or in percent.

    degrees_of_freedom: repetitions beyond the first of each subject, summed.
    """

    limit: float
    degrees_of_freedom: int


def repeatability_of_differences(subjects: Sequence[Sequence[float]]) -> Repeatability:
    """From repeated values of each subject, in their own unit. Raises InvalidValueError without a repetition."""
    freedom = sum(len(values) - 1 for values in subjects if values)
    if freedom < 1:
        raise InvalidValueError("repeatability needs at least two measurements of one subject")
    squares = sum(float(np.sum((np.asarray(values) - np.mean(values)) ** 2)) for values in subjects if values)
    factor = float(student.ppf(0.975, freedom)) * math.sqrt(2.0)
    return Repeatability(factor * math.sqrt(squares / freedom), freedom)


def repeatability_in_percent(subjects: Sequence[Sequence[float]]) -> Repeatability:
    """Of positive values whose error grows with them: their logarithms repeat alike (Bland and Altman 1996, 313:744).

    The limit is that of a rise, which is the larger side: a fall within it is never called beyond it by mistake.
    """
    if any(value <= 0.0 for values in subjects for value in values):
        raise InvalidValueError("a percentage needs positive values")
    logarithms = repeatability_of_differences([[math.log(value) for value in values] for values in subjects])
    return Repeatability(100.0 * math.expm1(logarithms.limit), logarithms.degrees_of_freedom)
