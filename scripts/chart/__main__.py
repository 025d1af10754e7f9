"""`python -m scripts.chart` writes values.schema.json and README.md of the Helm chart; `make chart` runs it.

Run it after a change of config.py or of the chart's values.yaml. tests/unit/deploy/test_chart_files.py compares them.
"""

from __future__ import annotations

from pathlib import Path

from scripts.chart.readme import readme
from scripts.chart.schema import schema

CHART = Path(__file__).resolve().parents[2] / "deploy" / "helm" / "uvr-api"


def main() -> None:
    """Write both files."""
    for name, text in generated().items():
        (CHART / name).write_text(text, encoding="utf-8")


def generated() -> dict[str, str]:
    """The text of each file as it should be, by its name."""
    old_schema, values = CHART / "values.schema.json", CHART / "values.yaml"
    return {
        "values.schema.json": schema(old_schema.read_text(encoding="utf-8")),
        "README.md": readme(values.read_text(encoding="utf-8")),
    }


if __name__ == "__main__":
    main()
