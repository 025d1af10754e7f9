"""What is published about the networks of well-known RoFormers (`tests/fixtures/roformer_geometries.yaml`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

FIXTURE = Path(__file__).resolve().parent.parent / "fixtures" / "roformer_geometries.yaml"


def _with_tuples(model: dict[str, Any]) -> dict[str, Any]:
    """The section `model` with its lists as tuples, as most of the files have them."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in model.items()}


PUBLISHED: dict[str, dict[str, Any]] = {
    name: {**facts, "model": _with_tuples(facts["model"])}
    for name, facts in yaml.safe_load(FIXTURE.read_text(encoding="utf-8"))["checkpoints"].items()
}


def published_description(name: str) -> dict[str, Any]:
    """The content of the YAML file of a checkpoint, as far as it matters."""
    facts = PUBLISHED[name]
    return {
        "model": facts["model"],
        "training": {"instruments": facts["stems"], "target_instrument": facts["target"]},
        "inference": {"dim_t": facts["dim_t"], "num_overlap": facts["num_overlap"]},
    }


def one_block(name: str) -> dict[str, Any]:
    """The geometry with a single block, and all other sizes as published."""
    return {**PUBLISHED[name]["model"], "depth": 1}
