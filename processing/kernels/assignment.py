"""Optimal assignment of rows to columns where staying unassigned is allowed and costs nothing.

Shortest augmenting paths with dual variables (Kuhn 1955; Jonker and Volgenant 1987), on dense gains of a small cluster:
gated linking falls into clusters of a few tracks, so the cubic cost never shows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from processing.kernels.jit import jit


@jit
def assign(gain: NDArray[np.float64], rows: int, columns: int, chosen: NDArray[np.int64]) -> None:
    """Fill chosen (rows,) with the column of each row, -1 = none, so that the sum of gains is largest.

    gain: (>= rows, >= columns); only positive gains are ever taken (-inf forbids). Ties go to the lower index.
    """
    total = columns + rows
    # Columns beyond `columns` are "unassigned", one a row, at cost 0; slot 0 is the root of each search.
    row_price = np.zeros(rows + 1)
    column_price = np.zeros(total + 1)
    row_of = np.zeros(total + 1, dtype=np.int64)
    came_from = np.zeros(total + 1, dtype=np.int64)
    for row in range(1, rows + 1):
        row_of[0] = row
        column = 0
        slack = np.full(total + 1, np.inf)
        used = np.zeros(total + 1, dtype=np.bool_)
        while True:
            used[column] = True
            current = row_of[column]
            nearest, best = -1, np.inf
            for other in range(1, total + 1):
                if used[other]:
                    continue
                if other <= columns:
                    value = gain[current - 1, other - 1]
                    cost = -value if value > 0.0 else np.inf
                else:
                    cost = 0.0 if other - columns == current else np.inf
                reduced = cost - row_price[current] - column_price[other]
                if reduced < slack[other]:
                    slack[other] = reduced
                    came_from[other] = column
                if slack[other] < best:
                    best = slack[other]
                    nearest = other
            for other in range(total + 1):
                if used[other]:
                    row_price[row_of[other]] += best
                    column_price[other] -= best
                else:
                    slack[other] -= best
            column = nearest
            if row_of[column] == 0:
                break
        while column != 0:
            previous = came_from[column]
            row_of[column] = row_of[previous]
            column = previous
    for row in range(rows):
        chosen[row] = -1
    for column in range(1, columns + 1):
        if row_of[column] > 0:
            chosen[row_of[column] - 1] = column - 1
