"""Print what CHANGELOG.md says about a version, as the notes of its release.

    python -m scripts.release_notes 0.2.0 --source https://github.com/OWNER/uvr-api/blob/v0.2.0

It refuses a version that config.py does not have or that the changelog does not date, so that no tag publishes
something unfinished. A page of releases is elsewhere than the files, so relative links are made to begin with SOURCE.
It needs nothing but the standard library.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


class NotReleasableError(Exception):
    """Why the version cannot be released, with what to do."""


def check_version(config: str, version: str) -> None:
    """Raise `NotReleasableError` unless `version` is VERSION in the text of config.py, the one place that has it."""
    found = re.search(r'^VERSION = "(.+)"$', config, re.MULTILINE)
    if not found or found[1] != version:
        raise NotReleasableError(f"VERSION in config.py is {found[1] if found else 'missing'}, not {version}")


def release_notes(changelog: str, version: str, source: str = "") -> str:
    """The section of `version` without its heading; raises `NotReleasableError` unless it has a date and a text."""
    sections = re.split(r"^## (.+)$", changelog, flags=re.MULTILINE)[1:]
    by_heading = dict(zip(sections[::2], sections[1::2], strict=True))
    headings = [heading for heading in by_heading if heading.split(maxsplit=1)[0] == version]
    if not headings:
        raise NotReleasableError(f"CHANGELOG.md has no section {version}")
    if not re.fullmatch(r"\S+ \(\d{4}-\d\d-\d\d\)", headings[0]):
        raise NotReleasableError(
            f"CHANGELOG.md dates {version} not yet: write its heading as ## {version} (YYYY-MM-DD)"
        )
    notes = by_heading[headings[0]].strip()
    if not notes:
        raise NotReleasableError(f"CHANGELOG.md says nothing about {version}")
    return re.sub(r"\]\((?!https?:|#)", f"]({source.rstrip('/')}/", notes) if source else notes


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Print the notes; exit status 1 with the reason on stderr if the version cannot be released."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("version", help="such as 0.2.0")
    parser.add_argument("--source", default="", help="what relative links begin with")
    options = parser.parse_args(arguments)
    try:
        check_version((root / "config.py").read_text(encoding="utf-8"), options.version)
        notes = release_notes((root / "CHANGELOG.md").read_text(encoding="utf-8"), options.version, options.source)
    except NotReleasableError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{notes}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
