"""Limitations: what a result lacks or what weakens it, said by name. A result is never silently missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["note", "degraded", "refused"]


@dataclass(frozen=True)
class Limitation:
    """One named limit of a result.

    `code` is a stable lower_snake word for machines, `text` a sentence for readers. `affects` holds names of
    findings (such as "PE", "perfusion", "super_resolution"). `note`: the values stand; `degraded`: they stand with
    less trust; `refused`: they are null.
    """

    code: str
    text: str
    severity: Severity
    affects: tuple[str, ...] = ()
