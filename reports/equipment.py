"""Who made the object: General and Enhanced General Equipment (PS3.3 C.7.5.1, C.7.5.2)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pydicom.dataset import Dataset

from reports import codes
from reports.model_use import ModelUse
from reports.uids import device_uid

MANUFACTURER = "CEUS Node"
MODEL_NAME = "ceus-node"


@dataclass(frozen=True)
class Equipment:
    """The node as a device. `serial_number` tells installations apart (type 1 in SEG and parametric maps)."""

    software_version: str
    serial_number: str = "1"
    station_name: str = ""
    institution_name: str = ""

    @property
    def device_uid(self) -> str:
        return device_uid(MODEL_NAME, self.serial_number)

    def write(self, dataset: Dataset) -> None:
        """Set the equipment modules of a result object."""
        dataset.Manufacturer = MANUFACTURER
        dataset.ManufacturerModelName = MODEL_NAME
        dataset.SoftwareVersions = self.software_version
        dataset.DeviceSerialNumber = self.serial_number
        if self.station_name:
            dataset.StationName = self.station_name
        if self.institution_name:
            dataset.InstitutionName = self.institution_name


def contributing_equipment(models: Iterable[ModelUse], moment: str) -> list[Dataset]:
    """Items of Contributing Equipment Sequence (PS3.3 C.12.1.1.5, as IHE AI Results asks): the models that gave an
    answer which is in the object. moment: DT. The maker is who runs it: a site's own model names none."""
    items = []
    for model in models:
        if model.state not in ("ok", "abstained"):
            continue
        item = Dataset()
        item.PurposeOfReferenceCodeSequence = [codes.sequence_item(codes.PROCESSING_EQUIPMENT)]
        item.Manufacturer, item.ManufacturerModelName = MANUFACTURER, model.id
        item.SoftwareVersions = model.version
        if model.device_uid:
            item.DeviceUID = model.device_uid
        item.ContributionDateTime = moment
        item.ContributionDescription = f"ONNX model {model.id} {model.version}, {model.state}, sha256 {model.sha256}"
        items.append(item)
    return items


def is_own_object(dataset: Dataset) -> bool:
    """Whether this node's software made the object: such an object never starts a job."""
    return bool(
        dataset.get("ManufacturerModelName", "") == MODEL_NAME and dataset.get("Manufacturer", "") == MANUFACTURER
    )
