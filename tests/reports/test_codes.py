"""Codes are what they say: ours fit their value representations, standard ones are in the standard's dictionaries."""

from __future__ import annotations

import ast
from pathlib import Path

from pydicom.sr._concepts_dict import concepts
from pydicom.sr.coding import Code

from reports import codes

REPORTS = Path(__file__).parent.parent.parent / "reports"


def test_own_concepts_fit_their_value_representations_and_are_told_apart() -> None:
    meanings = [concept.meaning for concept in codes.OWN_CONCEPTS.values()]
    for value, concept in codes.OWN_CONCEPTS.items():
        assert len(value) <= 16, "Code Value is SH"
        assert len(concept.meaning) <= 64, "Code Meaning is LO"
        assert concept.definition
    repeated = {meaning for meaning in meanings if meanings.count(meaning) > 1}
    assert repeated <= {"First frame", "Site profile"}, "one word for a group and for its value"


def test_standard_codes_carry_the_meaning_of_the_standards_dictionary() -> None:
    standard = [value for value in vars(codes).values() if isinstance(value, Code)]
    standard += [*codes.PERFUSION_CODES.values(), *codes.HETEROGENEITY_CODES.values()]
    checked = 0
    for code in standard:
        entries = concepts.get(code.scheme_designator, {})
        meanings = {entry[code.value][0] for entry in entries.values() if code.value in entry}
        if code.scheme_designator in ("DCM", "SCT", "IBSI"):
            assert meanings, f"{code} is not in the dictionary"
            bare = {meaning.split(" (")[0].casefold() for meaning in meanings}
            assert code.meaning.casefold() in bare, f"{code.value} means {bare}, not {code.meaning}"
            checked += 1
    assert checked > 15


def test_every_own_code_named_in_the_package_exists_and_every_one_is_used() -> None:
    text = "".join(path.read_text() for path in REPORTS.rglob("*.py") if path.name != "codes.py")
    table = (REPORTS / "codes.py").read_text()
    named = {
        node.value
        for node in ast.walk(ast.parse(text.replace("from __future__ import annotations", "")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    built = ("R_", "D_", "WASHOUT_", "PD_")
    for value in codes.OWN_CONCEPTS:
        used = value in named or f'own("{value}")' in table or value.startswith(built)
        assert used or f'"{value.removeprefix("DVP_")}"' in table, f"{value} is in the table and nowhere else"


def test_the_conformance_statement_lists_every_own_code() -> None:
    document = (REPORTS.parent / "docs" / "result-objects.md").read_text()
    for concept in codes.OWN_CONCEPTS.values():
        assert f"| `{concept.value}` | {concept.meaning} | {concept.definition} |" in document
    table = document.split("## Codes of the scheme")[1]
    assert table.count("\n| `") == len(codes.OWN_CONCEPTS), "and none that the node does not write"
