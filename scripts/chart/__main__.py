"""`python -m scripts.chart` writes the files of the Helm chart that repeat others; `make chart` runs it.

Run it after a change of config.py, of the chart's values.yaml or of the alerts. tests/unit/deploy/test_chart_files.py
compares them.
"""

from __future__ import annotations

from pathlib import Path

from scripts.chart.readme import readme
from scripts.chart.schema import schema

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
CHART = DEPLOY / "helm" / "uvr-api"
ALERTS = DEPLOY / "monitoring" / "prometheus-rules.yaml"


def main() -> None:
    """Write the files."""
    for name, text in generated().items():
        (CHART / name).write_text(text, encoding="utf-8")


def generated() -> dict[str, str]:
    """The text of each file as it should be, by its name."""
    files = {
        "values.schema.json": schema((CHART / "values.schema.json").read_text(encoding="utf-8")),
        "README.md": readme((CHART / "values.yaml").read_text(encoding="utf-8")),
    }
    # A chart can read files of its own folder only, so it has a copy of the alerts.
    return files | ({"rules/uvr-api.yaml": ALERTS.read_text(encoding="utf-8")} if ALERTS.exists() else {})


if __name__ == "__main__":
    main()
