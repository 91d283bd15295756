"""Closed forms of how contrast comes and goes: four bolus models, a recirculation tail, destruction-replenishment.

Each model gives the noise-free power of its tissue and, from its own formulas, the parameters that a measurement
should find (`BolusTruth`). Written from the papers, independently of the stages that fit these models:
log-normal Strouthos et al. 2010 (IEEE TUFFC 57:1296), gamma variate Thompson et al. 1964 (Circ Res 14:502),
LDRW Bogaard et al. 1984 and Mischi et al. 2003, FPT (inverse Gaussian) Sheppard and Savage 1951.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from processing.errors import InvalidValueError

FloatArray = NDArray[np.float64]
Model = TypeVar("Model", bound="Bolus")


class Kinetics(Protocol):
    """Noise-free linear echo power of a tissue over time after the injection."""

    def power_au(self, time_s: FloatArray) -> FloatArray: ...


@dataclass(frozen=True)
class BolusTruth:
    """The parameters of one noise-free bolus; names and definitions as in `processing.metrics.PerfusionMetrics`."""

    model: str
    peak_enhancement_au: float
    arrival_time_s: float
    time_to_peak_s: float
    rise_time_s: float
    fall_time_s: float
    wash_in_rate_au_per_s: float
    wash_out_rate_au_per_s: float
    wash_in_auc_au_s: float
    wash_out_auc_au_s: float
    wash_in_wash_out_auc_au_s: float
    wash_in_perfusion_index_au: float
    auc_au_s: float
    mean_transit_time_s: float
    mean_transit_time_local_s: float
    model_t0_s: float

    def seen(self, scale: float, zero_s: float) -> BolusTruth:
        """The same bolus with `scale` times the power, its moments counted from `zero_s` after the injection."""
        scaled = {name: scale * getattr(self, name) for name in _AMPLITUDES}
        moved = {name: getattr(self, name) - zero_s for name in _MOMENTS}
        return replace(self, **scaled, **moved)


_AMPLITUDES = (
    "peak_enhancement_au",
    "wash_in_rate_au_per_s",
    "wash_out_rate_au_per_s",
    "wash_in_auc_au_s",
    "wash_out_auc_au_s",
    "wash_in_wash_out_auc_au_s",
    "wash_in_perfusion_index_au",
    "auc_au_s",
)
_MOMENTS = ("arrival_time_s", "time_to_peak_s", "model_t0_s")


@dataclass(frozen=True)
class ReplenishmentTruth:
    """What a destruction-replenishment curve should give: rBV, beta (None where S-shaped), mTT and rBF = rBV/mTT."""

    plateau_au: float
    rate_per_s: float | None
    mean_transit_time_s: float
    flow_au_per_s: float
    flash_end_s: float


@dataclass(frozen=True)
class _Tangents:
    """Where the bolus rises and falls fastest: delays after t0, powers there and slopes."""

    rise_delay_s: float
    rise_power_au: float
    rise_slope_au_per_s: float
    fall_delay_s: float
    fall_power_au: float
    fall_slope_au_per_s: float


@dataclass(frozen=True)
class Bolus(ABC):
    """A bolus of total area `area_au_s` that begins at `start_s` (t0) after the injection."""

    area_au_s: float
    start_s: float
    model: ClassVar[str]

    def __post_init__(self) -> None:
        if self.area_au_s <= 0:
            raise InvalidValueError("area_au_s must be positive")

    @abstractmethod
    def density(self, delay_s: FloatArray) -> FloatArray:
        """Transit-time density [1/s] for delays > 0 after t0; integrates to 1."""

    @property
    @abstractmethod
    def peak_delay_s(self) -> float:
        """Delay of the maximum after t0."""

    @property
    @abstractmethod
    def mean_delay_s(self) -> float:
        """First moment after t0: mTT."""

    @abstractmethod
    def area_fraction(self, delay_s: float) -> float:
        """Part of the area that has passed by this delay, 0 to 1."""

    def power_au(self, time_s: FloatArray) -> FloatArray:
        delay_s = np.asarray(time_s, dtype=np.float64) - self.start_s
        power = np.zeros(delay_s.shape)
        begun = delay_s > 0
        power[begun] = self.area_au_s * self.density(delay_s[begun])
        return power

    @property
    def peak_au(self) -> float:
        return float(self.area_au_s * self.density(np.array([self.peak_delay_s]))[0])

    def tangents(self) -> _Tangents:
        """Steepest points by a dense search (relative step 1e-5); the log-normal overrides it in closed form."""
        span_s = 12 * self.peak_delay_s
        delay_s = np.linspace(span_s * 1e-6, span_s, 1_200_001)
        power = self.area_au_s * self.density(delay_s)
        slope = np.gradient(power, delay_s)
        rise, fall = int(slope.argmax()), int(slope.argmin())
        return _Tangents(*(float(a[i]) for i in (rise, fall) for a in (delay_s, power, slope)))

    def truth(self) -> BolusTruth:
        """All parameters of the noise-free bolus (docs/perfusion.md, section 1)."""
        steep = self.tangents()
        arrival_delay_s = steep.rise_delay_s - steep.rise_power_au / steep.rise_slope_au_per_s
        outflow_delay_s = steep.fall_delay_s - steep.fall_power_au / steep.fall_slope_au_per_s
        at_peak = self.area_fraction(self.peak_delay_s)
        wash_in = self.area_au_s * (at_peak - self.area_fraction(arrival_delay_s))
        wash_out = self.area_au_s * (self.area_fraction(outflow_delay_s) - at_peak)
        rise_s = self.peak_delay_s - arrival_delay_s
        return BolusTruth(
            model=self.model,
            peak_enhancement_au=self.peak_au,
            arrival_time_s=self.start_s + arrival_delay_s,
            time_to_peak_s=self.start_s + self.peak_delay_s,
            rise_time_s=rise_s,
            fall_time_s=outflow_delay_s - self.peak_delay_s,
            wash_in_rate_au_per_s=steep.rise_slope_au_per_s,
            wash_out_rate_au_per_s=-steep.fall_slope_au_per_s,
            wash_in_auc_au_s=wash_in,
            wash_out_auc_au_s=wash_out,
            wash_in_wash_out_auc_au_s=wash_in + wash_out,
            wash_in_perfusion_index_au=wash_in / rise_s,
            auc_au_s=self.area_au_s,
            mean_transit_time_s=self.mean_delay_s,
            mean_transit_time_local_s=self.mean_delay_s - arrival_delay_s,
            model_t0_s=self.start_s,
        )


def with_peak(bolus: Model, peak_au: float) -> Model:
    """The same bolus scaled so that its maximum is `peak_au`."""
    return replace(bolus, area_au_s=bolus.area_au_s * peak_au / bolus.peak_au)


def _normal_cdf(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2.0))


@dataclass(frozen=True)
class LogNormal(Bolus):
    """Log-normal transit times: `mu` and `sigma` of ln(delay / s)."""

    mu: float
    sigma: float
    model: ClassVar[str] = "log-normal"

    @classmethod
    def from_peak(cls, peak_au: float, time_to_peak_s: float, start_s: float, sigma: float) -> LogNormal:
        """The log-normal bolus with this maximum at this time after the injection."""
        mu = math.log(time_to_peak_s - start_s) + sigma**2
        return with_peak(cls(1.0, start_s, mu, sigma), peak_au)

    def density(self, delay_s: FloatArray) -> FloatArray:
        z = (np.log(delay_s) - self.mu) / self.sigma
        result: FloatArray = np.exp(-0.5 * z**2) / (delay_s * self.sigma * math.sqrt(2 * math.pi))
        return result

    @property
    def peak_delay_s(self) -> float:
        return math.exp(self.mu - self.sigma**2)

    @property
    def mean_delay_s(self) -> float:
        return math.exp(self.mu + self.sigma**2 / 2)

    def area_fraction(self, delay_s: float) -> float:
        return _normal_cdf((math.log(delay_s) - self.mu) / self.sigma) if delay_s > 0 else 0.0

    def tangents(self) -> _Tangents:
        """Zeros of the second derivative: with w = (ln x - mu)/sigma^2 + 1, they solve w^2 + w - 1/sigma^2 = 0."""
        values: list[float] = []
        for sign in (-1.0, 1.0):
            w = (-1.0 + sign * math.sqrt(1.0 + 4.0 / self.sigma**2)) / 2.0
            delay_s = math.exp(self.mu + self.sigma**2 * (w - 1.0))
            power = float(self.power_au(np.array([self.start_s + delay_s]))[0])
            values += [delay_s, power, -power * w / delay_s]
        return _Tangents(*values)


@dataclass(frozen=True)
class GammaVariate(Bolus):
    """Gamma variate x^a exp(-x/b) of unit area."""

    a: float
    b_s: float
    model: ClassVar[str] = "gamma variate"

    def density(self, delay_s: FloatArray) -> FloatArray:
        log_norm = (self.a + 1) * math.log(self.b_s) + math.lgamma(self.a + 1)
        result: FloatArray = np.exp(self.a * np.log(delay_s) - delay_s / self.b_s - log_norm)
        return result

    @property
    def peak_delay_s(self) -> float:
        return self.a * self.b_s

    @property
    def mean_delay_s(self) -> float:
        return self.b_s * (self.a + 1)

    def area_fraction(self, delay_s: float) -> float:
        """Regularised lower incomplete gamma function P(a + 1, x/b), by its power series."""
        if delay_s <= 0:
            return 0.0
        shape, x = self.a + 1, delay_s / self.b_s
        term = math.exp(shape * math.log(x) - x - math.lgamma(shape + 1))
        total, k = term, 1
        while term > 1e-16 * total:
            term *= x / (shape + k)
            total, k = total + term, k + 1
        return min(total, 1.0)


@dataclass(frozen=True)
class Ldrw(Bolus):
    """Local density random walk: `lam` = Peclet-like skewness, `transit_s` = u."""

    lam: float
    transit_s: float
    model: ClassVar[str] = "LDRW"

    def density(self, delay_s: FloatArray) -> FloatArray:
        ratio = delay_s / self.transit_s
        scale = np.sqrt(self.lam / (2 * math.pi * self.transit_s * delay_s))
        result: FloatArray = scale * np.exp(-0.5 * self.lam * (ratio + 1 / ratio - 2))
        return result

    @property
    def peak_delay_s(self) -> float:
        return self.transit_s * (math.sqrt(1 + 1 / (4 * self.lam**2)) - 1 / (2 * self.lam))

    @property
    def mean_delay_s(self) -> float:
        return self.transit_s * (1 + 1 / self.lam)

    def area_fraction(self, delay_s: float) -> float:
        """If X is inverse Gaussian (u, lam u) then u^2/X is LDRW, so F(x) = 1 - F_inverse_gaussian(u^2/x)."""
        if delay_s <= 0:
            return 0.0
        return 1.0 - _inverse_gaussian_cdf(self.transit_s**2 / delay_s, self.transit_s, self.lam)


@dataclass(frozen=True)
class Fpt(Bolus):
    """First passage time (inverse Gaussian) with mean `transit_s` and skewness `lam`."""

    lam: float
    transit_s: float
    model: ClassVar[str] = "FPT"

    def density(self, delay_s: FloatArray) -> FloatArray:
        ratio = delay_s / self.transit_s
        scale = np.sqrt(self.lam * self.transit_s / (2 * math.pi * delay_s**3))
        result: FloatArray = scale * np.exp(-0.5 * self.lam * (ratio + 1 / ratio - 2))
        return result

    @property
    def peak_delay_s(self) -> float:
        return self.transit_s * (math.sqrt(1 + 9 / (4 * self.lam**2)) - 3 / (2 * self.lam))

    @property
    def mean_delay_s(self) -> float:
        return self.transit_s

    def area_fraction(self, delay_s: float) -> float:
        return _inverse_gaussian_cdf(delay_s, self.transit_s, self.lam) if delay_s > 0 else 0.0


def _inverse_gaussian_cdf(delay_s: float, mean_s: float, lam: float) -> float:
    root = math.sqrt(lam * mean_s / delay_s)
    ratio = delay_s / mean_s
    # exp(2 lam) overflows for lam > 354, where the second term is below rounding anyway.
    tail = math.exp(2 * lam) * _normal_cdf(-root * (ratio + 1)) if lam < 350 else 0.0
    return _normal_cdf(root * (ratio - 1)) + tail


@dataclass(frozen=True)
class WithRecirculation:
    """A first pass followed by blood that has mixed: a plateau of `fraction` of the peak, reached with `mixing_s`.

    The parameters to be found stay those of the first pass: recirculation is what a fit must not be fooled by.
    """

    first_pass: Bolus
    fraction: float = 0.15
    mixing_s: float = 10.0

    def power_au(self, time_s: FloatArray) -> FloatArray:
        peak_s = self.first_pass.start_s + self.first_pass.peak_delay_s
        after_s = np.maximum(np.asarray(time_s, dtype=np.float64) - peak_s, 0.0)
        tail = self.fraction * self.first_pass.peak_au * -np.expm1(-after_s / self.mixing_s)
        result: FloatArray = self.first_pass.power_au(time_s) + tail
        return result

    def truth(self) -> BolusTruth:
        return self.first_pass.truth()


@dataclass(frozen=True)
class Replenishment:
    """A steady infusion, a destructive flash of `flash_s`, then y = A (1 - exp(-b t)) or A Phi((ln t - mu)/sigma).

    t counts from the end of the flash. rBV = `plateau_au`. Wei et al. 1998 (Circulation 97:473) for the exponential,
    Arditi et al. 2006 (TUFFC 53:1118) for the S-shaped curve, chosen by giving `log_mu` and `log_sigma`.
    """

    plateau_au: float
    rate_per_s: float = 0.3
    flash_at_s: float = 3.0
    flash_s: float = 0.4
    flash_gain: float = 6.0
    log_mu: float | None = None
    log_sigma: float = 0.6

    @property
    def mean_transit_time_s(self) -> float:
        if self.log_mu is None:
            return 1.0 / self.rate_per_s
        return math.exp(self.log_mu + self.log_sigma**2 / 2)

    def truth(self, scale: float = 1.0, zero_s: float = 0.0) -> ReplenishmentTruth:
        """Parameters with `scale` times the power; the end of the flash counts from `zero_s`."""
        plateau = scale * self.plateau_au
        return ReplenishmentTruth(
            plateau_au=plateau,
            rate_per_s=self.rate_per_s if self.log_mu is None else None,
            mean_transit_time_s=self.mean_transit_time_s,
            flow_au_per_s=plateau / self.mean_transit_time_s,
            flash_end_s=self.flash_at_s + self.flash_s - zero_s,
        )

    def power_au(self, time_s: FloatArray) -> FloatArray:
        time = np.asarray(time_s, dtype=np.float64)
        after_s = time - (self.flash_at_s + self.flash_s)
        if self.log_mu is None:
            refilled = -np.expm1(-self.rate_per_s * np.maximum(after_s, 0.0))
        else:
            z = (np.log(np.maximum(after_s, 1e-9)) - self.log_mu) / self.log_sigma
            refilled = np.array([_normal_cdf(float(v)) for v in z.ravel()]).reshape(z.shape)
        flashing = (time >= self.flash_at_s) & (after_s < 0)
        result: FloatArray = self.plateau_au * np.where(
            time < self.flash_at_s, 1.0, np.where(flashing, self.flash_gain, refilled)
        )
        return result
