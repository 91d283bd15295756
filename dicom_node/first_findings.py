"""Findings before anything is measured: where the cine comes from and what its header and pixels declare."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from dicom_node import version
from dicom_node.acquisition import patient_key
from dicom_node.cine_reader import CineFile
from dicom_node.config import Settings, profile_digest, result_digest
from processing.cine import DisplayProfile
from processing.intake import Examination
from reports.findings import Findings, Quality, Response, Software, Source, SuperResolution


def first_findings(
    settings: Settings, source: CineFile, profile: DisplayProfile, now: datetime, uids: tuple[str, ...]
) -> Findings:
    """Findings that know where they come from and have measured nothing yet."""
    return Findings(
        software=Software(
            "CEUS Node",
            version.SOFTWARE_VERSION,
            result_digest(settings, profile.name),
            profile.name,
            profile_digest(settings, profile.name),
            settings.analysis.protocol,
        ),
        created=now,
        source=_source(settings, source, profile, uids),
        quality=Quality(contrast_found=False),
        super_resolution=SuperResolution(performed=False, reason="the cine was not measured"),
        response=Response(performed=False, reason="the cine was not measured"),
    )


def _source(settings: Settings, source: CineFile, profile: DisplayProfile, uids: tuple[str, ...]) -> Source:
    """What the header says of the acquisition and its conditions; a gain is what the site declares of its preset."""
    facts, description = source.facts, source.description
    times_s = description.frame_times_s
    duration_s = float(times_s[-1] - times_s[0]) if times_s.size > 1 else None
    declared = settings.profile.get(profile.name)
    return Source(
        patient_key=patient_key(facts.patient_id, facts.issuer_of_patient_id, "", ""),
        study_instance_uid=facts.study_instance_uid,
        series_instance_uid=facts.series_instance_uid,
        sop_instance_uids=uids,
        frames=description.frames,
        duration_s=duration_s,
        frame_rate_hz=None if duration_s is None else (times_s.size - 1) / duration_s,
        contrast_panel=None,
        pixel_spacing_mm=None,
        compression=profile.compression,
        dynamic_range_db=profile.dynamic_range_db,
        dynamic_range_source="default" if profile.dynamic_range_db is None else "profile",
        commissioned=profile.commissioned_on,
        time_zero=description.time_zero.kind,
        agent=facts.agent or None,
        dose=None if facts.dose_ml is None else f"{facts.dose_ml:g} mL",
        mechanical_index=facts.mechanical_index,
        acquired_at=facts.acquired_at,
        utc_offset_min=facts.utc_offset_min,
        scanner=" ".join(part for part in (facts.manufacturer, facts.model, facts.transducer) if part),
        body_part=facts.body_part,
        laterality=facts.laterality,
        view=facts.view,
        gain_db=None if declared is None else declared.gain_db,
        frequency_mhz=facts.frequency_mhz,
        depth_mm=facts.depth_mm,
    )


def with_examination(findings: Findings, examination: Examination) -> Findings:
    """What the examination of the pixels adds: panels, levels, evidence."""
    level_map, evidence = examination.level_map, examination.evidence
    source = replace(
        findings.source,
        contrast_panel=examination.panels,
        pixel_spacing_mm=examination.spacing_mm,
        compression=level_map.compression,
        dynamic_range_db=level_map.dynamic_range_db,
        dynamic_range_source=level_map.source,
    )
    quality = replace(findings.quality, contrast_found=evidence.found, contrast_reason=evidence.reason)
    return replace(findings, source=source, quality=quality)
