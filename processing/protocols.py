"""Named presets: the parameters of every stage for one kind of examination, chosen by `[analysis] protocol`.

Each says where it comes from. A preset changes parameters, never definitions: a number means the same everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from processing.baseline_rule import BASELINE_RULES, BaselineRule
from processing.bolus_fit import BolusFitParameters
from processing.curve_plausibility import PlausibilityParameters
from processing.enhancement import EnhancementParameters
from processing.errors import InvalidValueError
from processing.motion import MotionParameters
from processing.perfusion_maps import MapParameters
from processing.vascular_pattern import PatternParameters
from processing.washout import WashOutParameters


@dataclass(frozen=True)
class Protocol:
    """name: as in the configuration; title: as on the pictures; source: of what differs from the defaults.

    shows_enhancement: the area that does not enhance is a result of this examination and gets its own view;
    shows_wash_out: wash-out against the reference means something in this organ.
    """

    name: str
    title: str
    source: str
    motion: MotionParameters = field(default_factory=MotionParameters)
    fit: BolusFitParameters = field(default_factory=BolusFitParameters)
    plausibility: PlausibilityParameters = field(default_factory=PlausibilityParameters)
    maps: MapParameters = field(default_factory=MapParameters)
    pattern: PatternParameters = field(default_factory=PatternParameters)
    wash_out: WashOutParameters = field(default_factory=WashOutParameters)
    enhancement: EnhancementParameters = field(default_factory=EnhancementParameters)
    shows_enhancement: bool = False
    shows_wash_out: bool = True

    @property
    def baseline(self) -> BaselineRule:
        """Which earlier study is "before"."""
        return BASELINE_RULES[self.name]


LIVER_BOLUS = Protocol(
    name="liver_bolus",
    title="Liver, bolus",
    source="EFSUMB introduction into DCE-US quantification (Dietrich et al. 2012, Ultraschall in Med 33:344): bolus, "
    "reference parenchyma at the same depth, log-normal and related models on linearised data.",
)

BEDSIDE_BOLUS = Protocol(
    name="bedside_bolus",
    title="Bedside, bolus",
    source="As liver_bolus; ventilated patients move by the machine's rhythm, so only frames of the most frequent "
    "phase are used (end-expiratory gating). The kept fraction is stated. No wash-out: the organ is not told.",
    motion=MotionParameters(phase_selected=True),
    shows_wash_out=False,
)

BREAST = Protocol(
    name="breast",
    title="Breast, bolus",
    source="As liver_bolus, without wash-out against parenchyma, which the breast's fat does not offer; little "
    "breathing, so smaller shifts are believed.",
    motion=MotionParameters(largest_fraction=0.1),
    shows_wash_out=False,
)

ABLATION = Protocol(
    name="ablation",
    title="Enhancement in this plane",
    source="Absence of enhancement in any phase beside enhancing parenchyma (WFUMB-EFSUMB liver CEUS guidelines 2020, "
    "Dietrich et al., Ultrasound Med Biol 46:2579); 10 dB below the reference: docs/perfusion.md.",
    shows_enhancement=True,
    shows_wash_out=False,
)

SMALL_ANIMAL = Protocol(
    name="small_animal",
    title="Small animal, bolus",
    source="Heart rates of 300 to 600 per minute shorten the bolus to seconds (domain knowledge): smoothing, "
    "recirculation delay, second bolus and motion windows are shortened in proportion.",
    fit=BolusFitParameters(smoothing_s=0.4, return_s=1.0),
    plausibility=PlausibilityParameters(second_smoothing_s=1.0),
    pattern=PatternParameters(smoothing_s=1.5, lasting_s=1.0),
    enhancement=EnhancementParameters(window_s=1.0),
    shows_wash_out=False,
)

PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol for protocol in (LIVER_BOLUS, BEDSIDE_BOLUS, BREAST, ABLATION, SMALL_ANIMAL)
}


def protocol_named(name: str) -> Protocol:
    """The preset of that name; InvalidValueError lists what there is."""
    if name not in PROTOCOLS:
        raise InvalidValueError(f"no protocol {name!r}: there are {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]
