"""The name under which a client saves a download, as a Content-Disposition header (RFC 6266, RFC 8187).

S3 storages keep this header with the object, so public and presigned links give the same name, and links look as they
did before downloads had names.
"""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import quote


def attachment(name: str) -> str:
    """The header's value, in ASCII whatever `name` contains; clients that know no `filename*` get what ASCII can show.

    NFKD comes before the replacement, because it turns full-width quotation marks into plain ones.
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().strip()
    plain = re.sub(r'[^ -~]|["\\%]', "_", plain)
    header = f'attachment; filename="{plain}"'
    return header if plain == name else f"{header}; filename*=UTF-8''{quote(name, safe='')}"
