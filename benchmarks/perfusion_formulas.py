"""The same curves by our fit and by the published formulas of QuantUS: one log-normal, plain least squares, parameters
from its closed forms (Strouthos 2010), once on linear power and once on the grey levels of a 50 dB display.

Curves: 100 speckles a frame, 10 fps, 90 s, truth from all four models in turn; and with 15 % of recirculation.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import curve_fit

from processing.bolus_models import MODELS, SHORT_NAMES
from processing.perfusion import fit_bolus
from processing.tic import Tic
from tests.accuracy.bolus_scenes import draw_curve, frame_times, speckle, with_mixed_tail

CURVES = 48
NAMES = ("PE", "AUC", "TTP", "mTT")


def log_normal(
    t: NDArray[np.float64], area: float, m: float, s: float, t0: float, offset: float
) -> NDArray[np.float64]:
    x = np.maximum(t - t0, 1e-9)
    return area / (x * s * np.sqrt(2 * np.pi)) * np.exp(-((np.log(x) - m) ** 2) / (2 * s * s)) + offset


def one_log_normal(time_s: NDArray[np.float64], power: NDArray[np.float64]) -> dict[str, float]:
    scale = float(power.max())
    peak_s = float(time_s[np.convolve(power, np.ones(11) / 11, "same").argmax()])
    start = (12.0, np.log(0.8 * peak_s) + 0.25, 0.5, 0.1 * peak_s, 0.02)
    bounds = ([0.0, -3.0, 0.05, -5.0, 0.0], [np.inf, 7.0, 3.0, peak_s - 0.05, 1.0])
    area, m, s, t0, _ = curve_fit(log_normal, time_s, power / scale, p0=start, bounds=bounds)[0]
    peak = area / (s * np.sqrt(2 * np.pi)) * np.exp(s * s / 2 - m)
    return {"PE": peak * scale, "AUC": area * scale, "TTP": t0 + np.exp(m - s * s), "mTT": np.exp(m + s * s / 2)}


def main() -> None:
    for title, tail in (("one pass", 0.0), ("15 % recirculation", 0.15)):
        rng = np.random.default_rng(5)
        time_s = frame_times(10.0, 90.0)
        rows: dict[str, list[list[float]]] = {"ours": [], "one log-normal, linear power": [], "the same on grey": []}
        for index in range(CURVES):
            curve = draw_curve(MODELS[index % 4], rng)
            truth = curve.truth()
            power = with_mixed_tail(curve, time_s, tail) * speckle(time_s.size, 100, rng)
            metrics = fit_bolus(Tic(time_s, power, np.zeros(time_s.size, np.bool_), "lesion")).unmasked
            grey = np.clip(255.0 * (1.0 + np.log10(power / power.max()) * 10.0 / 50.0), 0.0, 255.0)
            found = (
                {name: getattr(metrics, SHORT_NAMES[name]).value for name in NAMES},
                one_log_normal(time_s, power),
                one_log_normal(time_s, grey),
            )
            for row, values in zip(rows.values(), found, strict=True):
                row.append(
                    [values["TTP"] - truth["TTP"] if n == "TTP" else 100 * (values[n] / truth[n] - 1) for n in NAMES]
                )
        print(f"{title}: 95th percentile of |error| (mean error)")
        for name, errors in rows.items():
            p95, mean = np.percentile(np.abs(errors), 95, axis=0), np.mean(errors, axis=0)
            cells = [
                f"{n} {p:.1f} ({m:+.1f}) {'s' if n == 'TTP' else '%'}"
                if not (name == "the same on grey" and n in ("PE", "AUC"))
                else f"{n} has no unit"
                for n, p, m in zip(NAMES, p95, mean, strict=True)
            ]
            print(f"  {name:30s}" + "   ".join(cells))


if __name__ == "__main__":
    main()
