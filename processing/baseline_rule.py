"""What "before" is, by protocol: which earlier study a measurement is compared with.

Apart from the presets so that who only fetches earlier studies imports no numeric stack.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class BaselineRule:
    """The nearest earlier study, or the first of a course; none older than `within_h`."""

    kind: Literal["nearest", "first"]
    within_h: float

    @property
    def words(self) -> str:
        """As printed: "nearest earlier within 72 h", "first in course, within 365 days"."""
        if self.kind == "nearest":
            return f"nearest earlier within {self.within_h:g} h"
        return f"first in course, within {self.within_h / 24:g} days"


WARD = BaselineRule("nearest", 72.0)
"""A patient under intensive care changes within hours; what lies more than three days back is another state."""

COURSE = BaselineRule("first", 365.0 * 24)
"""Response is counted from the study before therapy (Lassau 2014: baseline against day 30); a year bounds a course."""

BASELINE_RULES: Mapping[str, BaselineRule] = {
    "liver_bolus": COURSE,
    "bedside_bolus": WARD,
    "breast": COURSE,
    "ablation": WARD,
    "small_animal": COURSE,
}
"""By name of the protocol. An ablation is judged against the study right before it."""
