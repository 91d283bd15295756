"""Which profile of the configuration a cine is measured with."""

from __future__ import annotations

from pathlib import Path

from dicom_node import profiles
from dicom_node.cine_header import CineFacts
from dicom_node.cine_reader import open_cine
from dicom_node.config import Settings
from dicom_node.errors import ConfigurationError, UnreadableCineError
from dicom_node.jobs import Job
from processing.cine import DisplayProfile
from processing.limitations import Limitation

MATCHING_KEYS = ("manufacturer", "model", "software", "transducer", "station", "processing")


def match_profile(
    settings: Settings, facts: CineFacts, named: str = ""
) -> tuple[DisplayProfile, tuple[Limitation, ...]]:
    """The profile that the scanner's configuration names, whatever the header says; else the one it matches.

    Raises ConfigurationError where the named profile or a grey table does not exist.
    """
    if not named:
        return profiles.match(settings.profile, facts)
    if named not in settings.profile:
        raise ConfigurationError(f"scanner.profile: there is no [profile.{named}]")
    unconditional = settings.profile[named].model_copy(update=dict.fromkeys(MATCHING_KEYS, ""))
    return profiles.match({named: unconditional}, facts)


def job_profile(settings: Settings, job: Job) -> str:
    """Name of the profile that a job would be measured with under these settings."""
    try:
        facts = open_cine([Path(file) for file in job.files]).facts
    except UnreadableCineError:
        return job.profile
    return match_profile(settings, facts, job.scanner_profile)[0].name


def check_profiles(settings: Settings) -> None:
    """Read every table and name once, at the start. Raises ConfigurationError for the first that is wrong."""
    for name, profile in settings.profile.items():
        if profile.compression == "table" and profile.grey_to_db is None:
            raise ConfigurationError(f'profile.{name}.grey_to_db: compression = "table" needs a CSV of grey,dB lines')
        if profile.grey_to_db is not None:
            profiles.read_grey_to_db(profile.grey_to_db)
        if profile.colour_map != "auto":
            profiles.read_colour_map(profile.colour_map)
    for scanner in settings.scanner:
        if scanner.profile and scanner.profile not in settings.profile:
            raise ConfigurationError(
                f"scanner.profile: {scanner.ae_title} names [profile.{scanner.profile}], not there"
            )
