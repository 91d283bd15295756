"""A site's table: RECIST as published, subjects that never cross a split, and refusals by line."""

from __future__ import annotations

import pytest

from onnx_models.errors import InvalidInputError
from onnx_models.training.data_table import read_table, recist, split_by_subject

HEADER = "subject,tumour,time_point,treatment,cine,mask,response,baseline_mm,nadir_mm,now_mm\n"


@pytest.mark.parametrize(
    ("baseline", "nadir", "now", "expected"),
    [
        (50, 50, 0, "CR"),
        (50, 50, 35, "PR"),  # exactly 30 % less
        (50, 50, 35.1, "SD"),
        (50, 30, 36, "PD"),  # 20 % and 6 mm above the nadir, though 28 % below baseline
        (50, 20, 24.9, "PR"),  # 24 % above the nadir, but not 5 mm
        (50, 30, 35.9, "SD"),  # 5.9 mm above the nadir, but not 20 %; 28 % below baseline
        (10, 10, 14.9, "SD"),
    ],
)
def test_recist_as_published(baseline: float, nadir: float, now: float, expected: str) -> None:
    assert recist(baseline, nadir, now) == expected


def test_classes_follow_from_diameters_and_say_so() -> None:
    case, given = read_table(HEADER + "m1,a,before,drug,a.dcm,a.png,,10,10,6\nm2,a,before,drug,b.dcm,b.png,SD,,,\n")
    assert (case.response, case.label, case.computed) == ("PR", "responsive", True)
    assert (given.label, given.computed) == ("stable", False)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (",a,before,drug,a.dcm,a.png,SD,,,", "line 2 names no subject"),
        ("m1,a,later,drug,a.dcm,a.png,SD,,,", "time_point"),
        ("m1,a,before,drug,a.png,a.png,SD,,,", "still image"),
        ("m1,a,before,drug,a.dcm,a.png,XX,,,", "CR, PR, SD or PD"),
        ("m1,a,before,drug,a.dcm,a.png,,10,,", "neither a response nor three diameters"),
    ],
)
def test_a_line_that_cannot_be_used_is_refused_by_its_number(line: str, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        read_table(HEADER + line + "\n")


def test_a_table_without_subjects_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="no column subject"):
        read_table("tumour,time_point,treatment,cine,mask\n")


def test_no_animal_is_on_both_sides_of_a_split() -> None:
    lines = [f"m{k // 4},t{k % 4},before,drug,{k}.dcm,{k}.png,SD,,," for k in range(40)]
    cases = read_table(HEADER + "\n".join(lines))
    train, test = split_by_subject(cases, 0.3, seed=1)
    assert len(train) + len(test) == 40
    assert not {c.subject for c in train} & {c.subject for c in test}
    assert len({c.subject for c in test}) == 3
    with pytest.raises(InvalidInputError):
        split_by_subject(cases[:4], 0.3, seed=1)
