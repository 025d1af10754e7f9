"""The name under which a client saves a download, as a Content-Disposition header (RFC 6266, RFC 8187).

S3 storages keep this header with the object, so public and presigned links give the same name, and links look as they
did before downloads had names. There it is `inline`: browsers go on playing the stems behind such links.
"""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import quote


def inline(name: str) -> str:
    """The header's value for a file that browsers may play; they save it under this name."""
    return f"inline; {_filename(name)}"


def attachment(name: str) -> str:
    """The header's value for a file that browsers save at once."""
    return f"attachment; {_filename(name)}"


def _filename(name: str) -> str:
    """The parameters of the header, in ASCII. Clients that know no `filename*` get what ASCII can show of `name`.

    NFKD comes before the replacement, because it turns full-width quotation marks into plain ones.
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().strip()
    plain = re.sub(r'[^ -~]|["\\%]', "_", plain)
    parameter = f'filename="{plain}"'
    return parameter if plain == name else f"{parameter}; filename*=UTF-8''{quote(name, safe='')}"
