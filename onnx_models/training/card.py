"""The model card, rendered from the manifest: nothing stands in it that was not measured or declared there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def render_card(manifest: Mapping[str, Any]) -> str:
    """The card of a manifest as Markdown."""
    m = manifest
    lines = [
        f"# {m['id']} {m['version']}",
        "",
        f"**{m['evidence']['label']}**",
        "",
        f"Intended use: {m['intended_use']}",
        "",
        "Not for: " + "; ".join(m["not_for"]) + ".",
        "",
        f"Trained on {m['training']['cines']} cines of {m['training']['simulator']}; "
        f"seeds {', '.join(map(str, m['training']['seeds']))}; `{m['training']['command']}`; "
        + ", ".join(f"{k} {v}" for k, v in m["training"]["versions"].items())
        + ".",
        "",
        "Demographics: not assessed (simulated data have none).",
        "",
        f"File {m['file']['bytes']} bytes, sha256 {m['file']['sha256']}, device UID {m['device_uid']}.",
        "",
        "## Measured",
        "",
        "| what | value | asked |",
        "|---|---|---|",
    ]
    for row in m["metrics"].get("table", []):
        lines.append(f"| {row['what']} | {_number(row)} | {row.get('asked', '')} |")
    lines += ["", *(f"- {note}" for note in m["metrics"].get("notes", []))]
    return "\n".join(lines).rstrip() + "\n"


def _number(row: Mapping[str, Any]) -> str:
    if row.get("value") is None:
        return "not measured"
    text = f"{row['value']:.3g}"
    if row.get("ci95"):
        text += f" ({row['ci95'][0]:.3g} to {row['ci95'][1]:.3g})"
    return text + (f", n = {row['n']}" if row.get("n") else "")
