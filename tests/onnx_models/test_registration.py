"""What a model folder must be before anything of it runs: each fault its state, and a sentence that names it."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from onnx_models.errors import InvalidInputError
from onnx_models.loaded import load_model
from onnx_models.manifest import Manifest
from onnx_models.registry import ACTIVATIONS, Models, RegistryOptions, activate, verify
from tests.onnx_models import tiny_onnx as tiny

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def refused(folder: Path) -> tuple[str, str]:
    model = load_model(folder)
    assert model.session is None
    return model.state, model.sentence


def test_a_sound_model_passes_every_check_and_names_the_provider_that_runs_it(tmp_path: Path) -> None:
    listed = verify(tiny.install(tmp_path))
    assert (listed.state, listed.identity.provider) == ("ok", "CPUExecutionProvider")
    assert listed.identity.sha256 == hashlib.sha256(tiny.model(tiny.lesion_graph())).hexdigest()


@pytest.mark.parametrize("place", [0.1, 0.5, 0.99])
def test_one_flipped_bit_is_a_hash_mismatch(tmp_path: Path, place: float) -> None:
    folder = tiny.install(tmp_path)
    content = bytearray((folder / "model.onnx").read_bytes())
    content[int(place * len(content))] ^= 1
    (folder / "model.onnx").write_bytes(content)
    state, sentence = refused(folder)
    assert state == "hash_mismatch"
    assert "model.onnx" in sentence


def test_a_swapped_model_is_a_hash_mismatch(tmp_path: Path) -> None:
    folder = tiny.install(tmp_path)
    (folder / "model.onnx").write_bytes(tiny.model(tiny.lesion_graph("gather")))
    assert refused(folder)[0] == "hash_mismatch"


def test_the_hash_is_compared_before_the_file_is_parsed(tmp_path: Path) -> None:
    """Garbage with a wrong hash is a wrong hash, not a parser's complaint."""
    folder = tiny.install(tmp_path)
    (folder / "model.onnx").write_bytes(b"\xff" * 500)
    assert refused(folder)[0] == "hash_mismatch"


@pytest.mark.parametrize(
    "content",
    [b"not a model", b"\xff" * 300, tiny.model(tiny.lesion_graph())[:-40], b"\x08\x09"],
    ids=["text", "noise", "cut", "no graph"],
)
def test_a_file_that_is_no_whole_model_is_a_bad_contract_even_with_its_right_hash(
    tmp_path: Path, content: bytes
) -> None:
    assert refused(tiny.install(tmp_path, content))[0] == "bad_contract"


def test_weights_in_another_file_are_refused_whatever_that_file_holds(tmp_path: Path) -> None:
    """The exporter's default: a hash of the .onnx file would cover none of the weights."""
    content = tiny.model(tiny.lesion_graph(external="model.onnx.data"))
    folder = tiny.install(tmp_path, content)
    (folder / "model.onnx.data").write_bytes(np.ones(5, np.float32).tobytes())
    state, sentence = refused(folder)
    assert state == "bad_contract"
    assert "external data" in sentence


def test_external_data_inside_a_loop_body_is_found_too(tmp_path: Path) -> None:
    body = tiny.graph(
        [tiny.node("Identity", ["a"], ["b"])], [tiny.tensor("a", np.ones(1, np.float32), "x.data")], [], []
    )
    nested = tiny.node("If", ["c"], ["logits"], tiny.attribute_graph("then_branch", body))
    content = tiny.model(tiny.graph([nested], [], [tiny.value("maps", (1,))], [tiny.value("logits", (1,))]))
    state, sentence = refused(tiny.install(tmp_path, content))
    assert state == "bad_contract"
    assert "external data" in sentence


@pytest.mark.parametrize("where", ["model", "golden", "folder"])
def test_a_symbolic_link_is_no_regular_file_of_the_folder(tmp_path: Path, where: str) -> None:
    folder = tiny.install(tmp_path / "here")
    if where == "folder":
        link = tmp_path / "there" / "lesion_seg" / "1"
        link.parent.mkdir(parents=True)
        link.symlink_to(folder)
        folder = link
    else:
        name = {"model": "model.onnx", "golden": "golden.npz"}[where]
        (folder / name).rename(tmp_path / name)
        (folder / name).symlink_to(tmp_path / name)
    state, sentence = refused(folder)
    assert state == "bad_contract"
    assert "regular file" in sentence


def test_a_manifest_cannot_point_outside_its_folder(tmp_path: Path) -> None:
    def outside(manifest: dict[str, Any]) -> None:
        manifest["file"]["name"] = "../model.onnx"

    state, sentence = refused(tiny.install(tmp_path, edit=outside))
    assert state == "bad_contract"
    assert "file.name" in sentence


@pytest.mark.parametrize("name", ["model.onnx", "golden.npz", "manifest.json"])
def test_a_missing_file_is_missing(tmp_path: Path, name: str) -> None:
    folder = tiny.install(tmp_path)
    (folder / name).unlink()
    assert refused(folder)[0] == "missing"


def test_operators_outside_the_standard_are_refused(tmp_path: Path) -> None:
    content = tiny.model(tiny.lesion_graph(domain="com.example"), domain="com.example")
    state, sentence = refused(tiny.install(tmp_path, content))
    assert state == "bad_contract"
    assert "com.example" in sentence


@pytest.mark.parametrize("path", ['File "/home/somebody/train.py", line 3', "C:\\Users\\somebody"])
def test_a_path_of_the_exporting_machine_is_refused(tmp_path: Path, path: str) -> None:
    content = tiny.model(tiny.lesion_graph(), metadata=("stack_trace", path))
    state, sentence = refused(tiny.install(tmp_path, content))
    assert state == "bad_contract"
    assert "paths" in sentence


def test_a_unit_like_dB_per_s_is_no_path(tmp_path: Path) -> None:
    content = tiny.model(tiny.lesion_graph(), metadata=("unit", "dB/s, 10 frames/s"))
    assert load_model(tiny.install(tmp_path, content)).state == "ok"


def test_a_graph_that_takes_other_tensors_than_its_manifest_says_is_refused(tmp_path: Path) -> None:
    state, sentence = refused(tiny.install(tmp_path, tiny.model(tiny.lesion_graph(channels=4))))
    assert state == "bad_contract"
    assert "maps" in sentence


def test_a_changed_weight_with_a_fresh_hash_fails_on_the_golden_vector(tmp_path: Path) -> None:
    """The runtime computes with a damaged weight without a word; only a known answer shows it."""
    content = bytearray(tiny.model(tiny.lesion_graph()))
    place = content.index(tiny.float_bytes(20.0))
    content[place : place + 4] = tiny.float_bytes(24.0)
    state, sentence = refused(tiny.install(tmp_path, bytes(content)))
    assert state == "golden_failed"
    assert "4" in sentence


@pytest.mark.parametrize("key", ["evidence", "ood", "golden", "applicability"])
def test_a_manifest_without_one_of_its_parts_is_refused_by_that_part(tmp_path: Path, key: str) -> None:
    state, sentence = refused(tiny.install(tmp_path, edit=lambda manifest: manifest.pop(key)))
    assert state == "bad_contract"
    assert key in sentence


def test_an_unknown_key_or_another_schema_version_is_refused(tmp_path: Path) -> None:
    for number, edit in enumerate(({"pickle": "weights.pkl"}, {"schema": "ceus-node/model/2"})):
        folder = tiny.install(tmp_path / str(number), edit=lambda manifest, edit=edit: manifest.update(edit))
        assert refused(folder)[0] == "bad_contract"


def test_a_manifest_is_frozen(tmp_path: Path) -> None:
    manifest = Manifest.model_validate_json((tiny.install(tmp_path) / "manifest.json").read_bytes())
    with pytest.raises(ValidationError):
        manifest.version = "2"  # type: ignore[misc]


def test_a_folder_named_otherwise_than_its_manifest_is_refused(tmp_path: Path) -> None:
    folder = tiny.install(tmp_path)
    moved = folder.rename(folder.with_name("7"))
    assert refused(moved)[0] == "bad_contract"


def test_a_site_s_model_speaks_only_after_somebody_answered_for_it(tmp_path: Path) -> None:
    tiny.install(tmp_path, version="30")
    options = RegistryOptions(overlay=tmp_path)
    assert Models.open(options).active["lesion_seg"].identity.version != "30"
    activate(tmp_path, ("lesion_seg", "30"), ("active", "Dr Ada", "compared on forty local cines"), NOON)
    chosen = Models.open(options).active["lesion_seg"]
    assert (chosen.identity.version, chosen.state) == ("30", "ok")
    line = json.loads((tmp_path / ACTIVATIONS).read_text())
    assert (line["approver"], line["at"], line["sha256"]) == ("Dr Ada", NOON.isoformat(), chosen.identity.sha256)


def test_a_shadow_is_loaded_and_decides_nothing(tmp_path: Path) -> None:
    tiny.install(tmp_path, version="30")
    activate(tmp_path, ("lesion_seg", "30"), ("shadow", "Dr Ada", "to be watched for a month"), NOON)
    models = Models.open(RegistryOptions(overlay=tmp_path))
    assert models.active["lesion_seg"].identity.version != "30"
    assert models.shadows["lesion_seg"].identity.version == "30"


def test_a_withdrawal_ends_an_activation(tmp_path: Path) -> None:
    tiny.install(tmp_path, version="30")
    activate(tmp_path, ("lesion_seg", "30"), ("active", "Dr Ada", "compared on forty local cines"), NOON)
    activate(tmp_path, ("lesion_seg", "30"), ("withdrawn", "Dr Ada", "it failed on the new scanner"), NOON)
    assert Models.open(RegistryOptions(overlay=tmp_path)).active["lesion_seg"].identity.version != "30"
    assert len((tmp_path / ACTIVATIONS).read_text().splitlines()) == 2


def test_a_model_replaced_after_its_approval_is_not_the_approved_one(tmp_path: Path) -> None:
    folder = tiny.install(tmp_path, version="30")
    activate(tmp_path, ("lesion_seg", "30"), ("active", "Dr Ada", "compared on forty local cines"), NOON)
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    tiny.install(tmp_path, tiny.model(tiny.lesion_graph(), metadata=("note", "another file")), version="30")
    assert Models.open(RegistryOptions(overlay=tmp_path)).active["lesion_seg"].state == "hash_mismatch"


@pytest.mark.parametrize(("approver", "reason"), [("", "compared on forty cines"), ("Dr Ada", "ok")])
def test_an_activation_without_a_name_or_a_reason_is_refused(tmp_path: Path, approver: str, reason: str) -> None:
    tiny.install(tmp_path, version="30")
    with pytest.raises(InvalidInputError):
        activate(tmp_path, ("lesion_seg", "30"), ("active", approver, reason), NOON)
    assert not (tmp_path / ACTIVATIONS).exists()


def test_a_broken_model_cannot_be_activated(tmp_path: Path) -> None:
    folder = tiny.install(tmp_path, version="30")
    (folder / "model.onnx").write_bytes(b"damaged")
    with pytest.raises(InvalidInputError, match="hash_mismatch"):
        activate(tmp_path, ("lesion_seg", "30"), ("active", "Dr Ada", "compared on forty local cines"), NOON)


def test_pins_choose_a_version_switch_off_and_say_what_they_cannot_find(tmp_path: Path) -> None:
    tiny.install(tmp_path, version="30")

    def state(pin: str) -> str:
        pinned = RegistryOptions(overlay=tmp_path, pins={"lesion_seg": pin})
        return Models.open(pinned).active["lesion_seg"].state

    assert state("disabled") == "disabled"
    assert state("31") == "missing"
    assert state("30") == "disabled"
    activate(tmp_path, ("lesion_seg", "30"), ("active", "Dr Ada", "compared on forty local cines"), NOON)
    assert state("30") == "ok"
