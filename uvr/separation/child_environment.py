"""The environment of child processes: what a runtime needs, and none of the service's passwords.

Decoders read whatever clients send. If a file ever takes one over, its environment must not contain the keys of the
bucket, the password of Redis or that of the admin. So variables are allowed by name; a new secret is never among them.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping

_ALLOWED = re.compile(
    # the system, languages, temporary files
    "PATH|HOME|USER|LOGNAME|LANG|LANGUAGE|LC_[A-Z]+|TZ|TMPDIR|TMP|TEMP|XDG_CACHE_HOME"
    # libraries, Python, certificates
    "|(DY)?LD_[A-Z_]+|GLIBC_TUNABLES|MALLOC_[A-Z_]+|VIRTUAL_ENV|PYTHON[A-Z]+|[AL]SAN_OPTIONS|SSL_CERT_(FILE|DIR)"
    # our kernels, threads of numeric libraries, graphics cards, ONNX Runtime, torch and where it keeps models
    "|NETWORK_ISA|(OMP|GOMP|KMP|MKL|OPENBLAS|BLIS|NUMEXPR|VECLIB|ORT|CUDA|CUDNN|CUBLAS|ROCR|HIP|HSA|PYTORCH)_[A-Z0-9_]+"
    "|NVIDIA_(VISIBLE_DEVICES|DRIVER_CAPABILITIES|TF32_OVERRIDE)|TORCH_HOME|AUDIO_SEPARATOR_MODEL_DIR"
)
_PROXY = re.compile("(HTTPS?|ALL|NO)_PROXY|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE", re.IGNORECASE)
_SECRET = re.compile("SECRET|TOKEN|PASSWORD|PASSWD|KEY|CREDENTIAL")


def child_environment(variables: Mapping[str, str] = os.environ, *, downloads: bool = False) -> dict[str, str]:
    """The variables of `variables` that a child gets, with which it imports from the same folders as this process.

    A child that `downloads` model files also gets the proxies, which may contain a password.
    """
    allowed = {
        name: value
        for name, value in variables.items()
        if (_ALLOWED.fullmatch(name) and not _SECRET.search(name)) or (downloads and _PROXY.fullmatch(name))
    }
    return {**allowed, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
