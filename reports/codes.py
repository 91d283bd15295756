"""Coded concepts of our result objects: standard codes where there is one, `99CEUSNODE` for what has none.

`OWN_CONCEPTS` is the table of the conformance statement. Standard codes: PS3.16 (DCM), SNOMED CT, UCUM, IBSI, UMLS.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

OWN_SCHEME = "99CEUSNODE"
OWN_SCHEME_NAME = "CEUS Node concepts"
OWN_SCHEME_VERSION = "1"


@dataclass(frozen=True)
class OwnConcept:
    """A concept without a standard code. `value` is at most 16 characters (VR SH), `meaning` at most 64 (VR LO)."""

    value: str
    meaning: str
    definition: str

    @property
    def code(self) -> Code:
        return Code(self.value, OWN_SCHEME, self.meaning)


_TABLE = (
    # perfusion of one ROI
    ("AT_LOOP", "Arrival time from first frame", "Arrival time where time zero is not the injection"),
    ("TTP_LOOP", "Time to peak from first frame", "Time to peak where time zero is not the injection"),
    ("RT", "Rise time", "Peak time minus arrival time"),
    ("FT", "Fall time", "Wash-out tangent's zero minus peak time"),
    ("WOR", "Wash-out rate", "Magnitude of the steepest fall"),
    ("WIAUC", "Wash-in area under the curve", "Integral from arrival to peak"),
    ("WOAUC", "Wash-out area under the curve", "Integral from peak to the wash-out tangent's zero"),
    ("WIWOAUC", "Wash-in and wash-out area under the curve", "Sum of both"),
    ("WIPI", "Wash-in perfusion index", "Wash-in area divided by rise time"),
    ("AUC", "Area under the curve", "Integral of the fitted model from its time offset to infinity"),
    ("MTT_LOCAL", "Mean transit time, local", "Model's first moment counted from arrival"),
    ("T0", "Model time offset", "Time offset of the fitted model"),
    ("BETA", "Replenishment rate", "beta of y = A(1 - exp(-beta t)) after destruction"),
    # lesion against reference
    ("WASHOUT_ONSET", "Wash-out onset", "First time after the peak at which the lesion falls below the reference"),
    ("WASHOUT_30", "Lesion level against reference at 30 s", "Lesion minus reference in dB, 30 s after arrival"),
    ("WASHOUT_60", "Lesion level against reference at 60 s", "Lesion minus reference in dB, 60 s after arrival"),
    ("WASHOUT_120", "Lesion level against reference at 120 s", "Lesion minus reference in dB, 120 s after arrival"),
    ("DVP_CLASS", "Dynamic vascular pattern", "Sign of lesion minus reference over time (Rognin 2010)"),
    *(
        (f"DVP_{value}", f"Share of the lesion that is {words}", "Share of the lesion's pixels in the class")
        for value, words in (
            ("HYPER", "hyper-enhancing"),
            ("HYPO", "hypo-enhancing"),
            ("HYPER_HYPO", "hyper- then hypo-enhancing"),
            ("HYPO_HYPER", "hypo- then hyper-enhancing"),
            ("ISO", "iso-enhancing"),
        )
    ),
    ("HYPER", "Hyper-enhancing", "Class of the dynamic vascular pattern"),
    ("HYPO", "Hypo-enhancing", "Class of the dynamic vascular pattern"),
    ("HYPER_HYPO", "Hyper- then hypo-enhancing", "Class of the dynamic vascular pattern"),
    ("HYPO_HYPER", "Hypo- then hyper-enhancing", "Class of the dynamic vascular pattern"),
    ("ISO", "Iso-enhancing", "Class of the dynamic vascular pattern: within the dead band"),
    ("PERFUSED", "Perfused area share", "Share of the lesion's area that enhances"),
    ("NONENH_AREA", "Non-enhancing area", "Area of the lesion without enhancement"),
    ("NONENH", "Non-enhancing area share", "Share of the lesion's area without enhancement"),
    ("NOTASSESS", "Not assessable area share", "Share of the lesion's area that could not be judged"),
    ("SINCE_TREATMENT", "Time since treatment", "By the scanner's clock, from the time that was declared"),
    # super-resolution
    ("LOCALIZATIONS", "Number of localized microbubbles", "Localizations that entered the maps"),
    ("TRACKS", "Number of microbubble tracks", "Tracks that entered the maps"),
    ("ULM_INTERVAL", "Super-resolution acquisition interval", "Time over which bubbles were collected"),
    ("ULM_MAXSPEED", "Trackable maximum speed", "Linking radius times frame rate"),
    ("PSF_Z", "Point spread function width, axial", "Full width at half maximum, estimated from the data"),
    ("PSF_X", "Point spread function width, lateral", "Full width at half maximum, estimated from the data"),
    ("ULM_PRECISION", "Localization precision", "Median standard error of a localization"),
    ("ULM_FRC", "Fourier ring correlation resolution", "Between two halves of the tracks"),
    ("PD_THRESHOLD", "Perfusion density by threshold", "Share of the ROI covered by super-resolved pixels"),
    ("PD_THRESHOLD_R", "Perfusion density by threshold, rarefied", "The same at a fixed number of bubble positions"),
    ("PD_MODEL", "Perfusion density by vessel model", "Share of the ROI covered by the model's vessel mask"),
    ("PD_MODEL_R", "Perfusion density by vessel model, rarefied", "The same at a fixed number of bubble positions"),
    ("PD_COUNT", "Perfusion density by track count", "Bubbles by the ends of their tracks, per area and time"),
    ("PD_FLUX", "Perfusion density by flux", "Length of bubbles' ways, hidden ones estimated, per area and time"),
    ("ULM_FILLED", "Super-resolution filled share", "Share of pixels filled at the end of the acquisition"),
    ("ULM_PLATEAU", "Super-resolution fitted plateau", "Plateau of the filled share's growth"),
    ("ULM_DENSITY", "Microbubble track density", "Tracks that crossed a super-resolved pixel"),
    ("ULM_DIRECTION", "Flow direction", "Counter-clockwise from the image's right, in degrees"),
    ("SPEED_MEDIAN", "Flow velocity, median", "Over all track steps"),
    ("SPEED_P95", "Flow velocity, 95th percentile", "Over all track steps"),
    ("SPEED_CV", "Flow velocity coefficient of variation", "Of the per-pixel mean speed"),
    ("SPEED_QCD", "Flow velocity quartile coefficient", "Of the per-pixel mean speed"),
    ("SPEED_ENTROPY", "Flow velocity entropy", "Normalised Shannon entropy of speed"),
    ("DIR_ENTROPY", "Flow direction entropy", "Normalised Shannon entropy of direction"),
    ("DIR_DISPERSION", "Local flow direction dispersion", "1 - |mean unit vector|"),
    ("VESSELS", "Number of vessels", "Branches of the vessel skeleton"),
    ("TORTUOSITY", "Vessel tortuosity", "Path length over end-to-end distance"),
    ("DIAMETER", "Vessel diameter", "From the vessel mask's distance transform"),
    ("BRANCHPOINTS", "Number of vessel branch points", "Of the vessel skeleton"),
    ("CENTRE_RIM", "Centre to rim vessel density ratio", "Inner half of the ROI over its rim"),
    # ratios, differences, changes: built from a parameter's symbol
    *(
        (f"R_{symbol.upper()}", f"{symbol} lesion to reference ratio", f"{symbol} of the lesion over the reference's")
        for symbol in ("PE", "WiR", "WoR", "WiAUC", "WoAUC", "WiWoAUC", "WiPI", "AUC")
    ),
    *(
        (f"D_{symbol.upper()}", f"{symbol} lesion minus reference", f"{symbol} of the lesion minus the reference's")
        for symbol in ("AT", "TTP", "RT", "FT", "mTT")
    ),
    # models and response
    ("PRED_RESPONSE", "Predicted treatment response", "A model's prediction, never the actual response"),
    ("P_RESPONSIVE", "Predicted probability of response", "Probability of the class responsive"),
    ("P_STABLE", "Predicted probability of stable disease", "Probability of the class stable"),
    ("P_NONRESPONSIVE", "Predicted probability of no response", "Probability of the class non-responsive"),
    ("RESPONSIVE", "Responsive (predicted)", "Predicted class"),
    ("STABLE", "Stable (predicted)", "Predicted class"),
    ("NONRESPONSIVE", "Non-responsive (predicted)", "Predicted class"),
    ("ABSTAINED", "Prediction abstained", "The model's guard gave no class"),
    ("DISAGREEMENT", "Ensemble disagreement", "Spread of the ensemble's probabilities"),
    ("MODEL_STATE", "Model state", "What the model was validated for, and how its guard judged this input"),
    # change against an earlier study
    ("CHANGE_PCT", "Percent change from baseline", "100 (now - baseline) / baseline"),
    ("CHANGE_DIFF", "Difference from baseline", "Now minus baseline"),
    ("BASELINE_STUDY", "Baseline study", "The earlier study compared with, and the rule that chose it"),
    ("SETTINGS_DIFFER", "Settings that differ from the baseline", "Why absolute amplitudes are not compared"),
    ("VARIABILITY", "Against measurement variability", "Whether a change exceeds the stated repeatability"),
    ("BEYOND", "Beyond measurement variability", "The change exceeds the stated repeatability"),
    ("WITHIN", "Within measurement variability", "The change lies within the stated repeatability"),
    ("UNKNOWN_VAR", "Measurement variability unknown", "No repeatability was stated"),
    ("MATCH", "Lesion match", "Whether both studies measured the same lesion"),
    ("MATCH_CONFIRMED", "Lesion match confirmed by a reader", "A reader confirmed that both are the same lesion"),
    ("MATCH_OPEN", "Lesion match unconfirmed", "The node matched them; nobody confirmed it"),
    # what was measured, how, and how well
    ("PANEL", "Contrast panel", "The whole contrast image was measured, no lesion was outlined"),
    ("REFERENCE", "Reference parenchyma", "Tissue beside the lesion, at its depth"),
    ("DRAWN_BY", "Region outlined by", "Author of the region of interest"),
    ("BY_MODEL", "Segmentation model", "The region comes from a model"),
    ("BY_READER", "Reader", "The region comes from a reader"),
    ("BY_FILE", "File given by the user", "The region comes from a file"),
    ("BY_RULE", "Stated rule", "The region follows from a stated rule"),
    ("CONTRAST", "Contrast enhancement", "Whether contrast enhancement was found in the cine"),
    ("CONTRAST_YES", "Contrast enhancement found", "The cine shows contrast enhancement"),
    ("CONTRAST_NO", "No contrast enhancement found", "The cine is not a contrast cine; nothing was measured"),
    ("QUALITY", "Acquisition quality", "Group of quality figures"),
    ("SATURATED", "Saturated share", "Share of ROI samples at full scale"),
    ("MOTION_P95", "Tissue motion, 95th percentile", "Displacement against the reference frame"),
    ("REJECTED", "Number of rejected frames", "Frames that no fit used"),
    ("FRAME_RATE", "Frame rate", "Median over the acquisition"),
    ("DURATION", "Acquisition duration", "First to last frame"),
    ("MAP_RES_Z", "Effective resolution of the perfusion maps in depth", "Edge of the area that one value averages"),
    ("MAP_RES_X", "Effective resolution of the perfusion maps in width", "Edge of the area that one value averages"),
    ("MAP_SPECKLES", "Speckles in one value of the perfusion maps", "Independent speckles that one value averages"),
    ("MAP_FITTED", "Fitted share of the perfusion maps", "Of the lesion's samples, those whose curve could be fitted"),
    ("DYN_RANGE", "Display dynamic range", "dB from lowest to highest displayed level, as used to linearise"),
    ("DYN_RANGE_SRC", "Source of the dynamic range", "Where the dynamic range comes from"),
    ("DR_TABLE", "Pixel value table of the image", "Source of the dynamic range"),
    ("DR_PROFILE", "Site profile", "Source of the dynamic range"),
    ("DR_DEFAULT", "Default value, not declared by the site", "Source of the dynamic range"),
    ("TIME_ZERO", "Time zero", "The event that times are counted from"),
    ("TZ_BOLUS", "Bolus start", "Time zero is the recorded start of the injection"),
    ("TZ_TIMER", "Event timer", "Time zero is the scanner's contrast timer"),
    ("TZ_FRAME", "First frame", "Time zero is the first frame of the loop"),
    ("COMMISSIONED", "Scanner commissioning", "When amplitudes were checked on this scanner"),
    ("PROFILE", "Site profile", "Name and digest of the scanner's profile"),
    ("SETTINGS", "Software configuration", "Digest of the result-relevant settings"),
    ("CONDITION", "Condition of the measurement", "Name and value; what a later study must know to be compared"),
    ("LIMITATION", "Limitation of the result", "What the result lacks or what weakens it"),
    ("RESEARCH", "Intended use", "Statement of intended use"),
    ("NOT_PERFORMED", "Analysis not performed", "An analysis that was not performed, and why"),
    ("CI95", "95 % confidence interval", "Property of a measurement: low to high, in its unit"),
    # methods
    ("M_NONE", "Read from the smoothed curve, no model", "Measurement method"),
    ("M_LOGNORMAL", "Log-normal bolus model", "Measurement method"),
    ("M_GAMMA", "Gamma variate bolus model", "Measurement method"),
    ("M_LDRW", "Local density random walk bolus model", "Measurement method"),
    ("M_FPT", "First passage time bolus model", "Measurement method"),
    ("M_REPLENISH", "Destruction-replenishment model", "Measurement method"),
    ("M_MASK", "Counting pixels of the mask", "Measurement method"),
    ("M_ULM", "Ultrasound localization microscopy", "Measurement method"),
    ("M_LEVELS", "Reading of the image levels", "Measurement method"),
    ("M_MODEL", "Machine learning model", "Measurement method"),
)

OWN_CONCEPTS: dict[str, OwnConcept] = {
    value: OwnConcept(value, meaning, definition) for value, meaning, definition in _TABLE
}
"""All concepts of our own scheme by code value."""


def own(value: str) -> Code:
    """The code of one of our own concepts."""
    return OWN_CONCEPTS[value].code


def dcm(value: str, meaning: str) -> Code:
    return Code(value, "DCM", meaning)


def sct(value: str, meaning: str) -> Code:
    return Code(value, "SCT", meaning)


UCUM_MEANINGS = {
    "1": "no units",
    "%": "percent",
    "s": "second",
    "/s": "per second",
    "d": "day",
    "h": "hour",
    "mm": "millimeter",
    "um": "micrometer",
    "mm2": "square millimeter",
    "mm/s": "millimeter per second",
    "dB": "decibel",
    "Hz": "hertz",
    "deg": "degree",
    "{ratio}": "ratio",
    "[arb'U]": "arbitrary unit",
    "[arb'U].s": "arbitrary unit second",
    "[arb'U]/s": "arbitrary unit per second",
    "/mm2/s": "per square millimeter per second",
    "mm/mm2/s": "millimeter per square millimeter per second",
    "/mm2": "per square millimeter",
    "/mm": "per millimeter",
}


def sequence_item(code: Code) -> Dataset:
    """A coded concept as a sequence item (PS3.3 8.8)."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme_designator, code.meaning
    return item


def ucum(unit: str) -> Code:
    """A unit of measurement (UCUM) with its meaning; an unknown unit is its own meaning."""
    return Code(unit, "UCUM", UCUM_MEANINGS.get(unit, unit))


PERFUSION_CODES: dict[str, Code] = {
    "PE": dcm("126376", "Maximum Difference"),
    "AT": dcm("126371", "Bolus Arrival Time"),
    "TTP": dcm("113069", "Time To Peak"),
    "RT": own("RT"),
    "FT": own("FT"),
    "WiR": dcm("126375", "Maximum Slope"),
    "WoR": own("WOR"),
    "WiAUC": own("WIAUC"),
    "WoAUC": own("WOAUC"),
    "WiWoAUC": own("WIWOAUC"),
    "WiPI": own("WIPI"),
    "AUC": own("AUC"),
    "mTT": dcm("113052", "Mean Transit Time"),
    "mTTl": own("MTT_LOCAL"),
    "t0": own("T0"),
}
"""Concept of each bolus parameter; QOF is written as R2 (DCM 126220), of which it is the hundredfold."""

LOOP_TIME_CODES: dict[str, Code] = {"AT": own("AT_LOOP"), "TTP": own("TTP_LOOP")}
"""Where time zero is the first frame, AT and TTP tell when somebody pressed store: never 126371 or 113069."""

MODEL_METHODS: dict[str, Code] = {
    "none": own("M_NONE"),
    "log-normal": own("M_LOGNORMAL"),
    "gamma variate": own("M_GAMMA"),
    "LDRW": own("M_LDRW"),
    "FPT": own("M_FPT"),
}

VASCULAR_PATTERNS: dict[str, tuple[Code, Code]] = {
    name: (own(value), own(f"DVP_{value}"))
    for name, value in (
        ("hyper", "HYPER"),
        ("hypo", "HYPO"),
        ("hyper-then-hypo", "HYPER_HYPO"),
        ("hypo-then-hyper", "HYPO_HYPER"),
        ("iso", "ISO"),
    )
}
"""Class of the dynamic vascular pattern, and its share of the lesion."""

CHANGE_CODES: dict[str, Code] = {
    **{symbol: PERFUSION_CODES[symbol] for symbol in PERFUSION_CODES if symbol not in ("AT", "TTP", "t0")},
    **{f"{s}_ratio": own(f"R_{s.upper()}") for s in ("PE", "WiR", "WoR", "WiAUC", "WoAUC", "WiWoAUC", "WiPI", "AUC")},
    **{f"{symbol}_difference_s": own(f"D_{symbol.upper()}") for symbol in ("RT", "FT", "mTT")},
    "area_mm2": sct("42798000", "Area"),
    "perfusion_density_rarefied_percent": own("PD_THRESHOLD_R"),
    "speed_mean_mm_s": dcm("110828", "Flow Velocity"),
    "perfused_area_percent": own("PERFUSED"),
}
"""Names that `comparison.changes` may hold. AT and TTP may not: they tell when somebody pressed store."""

R_SQUARED = dcm("126220", "R2-Coefficient")
AREA = sct("42798000", "Area")
FLOW_VELOCITY = dcm("110828", "Flow Velocity")
FRACTAL_DIMENSION = dcm("126050", "Fractal Dimension")
RELATIVE_BLOOD_VOLUME = dcm("126398", "Relative Regional Blood Volume")
RELATIVE_BLOOD_FLOW = dcm("126397", "Relative Regional Blood Flow")
HETEROGENEITY_CODES: dict[str, Code] = {
    "cov": Code("CWYJ", "IBSI", "Intensity Histogram Coefficient of Variation"),
    "entropy": Code("TLU2", "IBSI", "Intensity Histogram Entropy"),
    "quartile_coefficient": Code("SLWD", "IBSI", "Intensity Histogram Quartile Coefficient of Dispersion"),
}

MEAN = sct("373098007", "Mean")
MEDIAN = sct("373099004", "Median")

BASELINE = Code("C1442488", "UMLS", "Baseline")
POST_TREATMENT = dcm("126074", "Posttreatment")
LESION = sct("52988006", "Lesion")
TISSUE = sct("85756007", "Tissue")
BODY = sct("38266002", "Entire body as a whole")
BLOOD_VESSEL = sct("59820001", "Blood Vessel")
ABNORMAL_STRUCTURE = sct("49755003", "Morphologically abnormal structure")
ANATOMICAL_STRUCTURE = sct("91723000", "Anatomical structure")
IMAGING_PROCEDURE = sct("363679005", "Imaging procedure")
ARTIFICIAL_INTELLIGENCE = dcm("123110", "Artificial Intelligence")
SOURCE_IMAGE = dcm("121322", "Source image for image processing operation")
PROCESSING_EQUIPMENT = dcm("109102", "Processing Equipment")
QUALITATIVE_EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")
