"""Errors of this package, caught by family in the registry; none of them ends a study.

OnnxModelsError
├── InvalidInputError    an array handed to this package breaks its type: the caller is wrong
└── ModelRefusedError    a model or a call failed a check; carries the state and a sentence for the report
"""

from __future__ import annotations

from onnx_models.identity import State


class OnnxModelsError(Exception):
    """Base of everything this package raises on purpose."""


class InvalidInputError(OnnxModelsError, ValueError):
    """An array or number handed to this package breaks the contract of its type."""


class ModelRefusedError(OnnxModelsError):
    """A model, or one call of it, failed a check of models.md section 3."""

    def __init__(self, state: State, sentence: str, ood_score: float | None = None) -> None:
        super().__init__(sentence)
        self.state: State = state
        self.sentence = sentence
        self.ood_score = ood_score
