"""What a script does on a full server: a first command that decides it, on every Redis from 6.0 on, and on Valkey.

Redis checks its memory before the first writing command of a script and never again in it, so that no script stops half
way. A first command that takes memory is refused on a full server, and the script with it; after one that takes none,
all others run. Each first command here changes nothing: no key has the name it is for.

Redis 7 has flags for the same (`#!lua flags=allow-oom`), but Redis 6 cannot compile a script that has them, and a
fail-over may lead from one to the other (docs/decisions/0012-scripts-without-flags.md).
"""

from __future__ import annotations

# Redis 6 can be configured to send scripts to its replicas whole; then it refuses to write after it was asked the time.
_EFFECTS_ARE_REPLICATED = "if redis.replicate_commands then redis.replicate_commands() end\n"


def deny_oom(body: str) -> str:
    """A script that a full server refuses, before it has changed anything. It must have a key."""
    return f"{_EFFECTS_ARE_REPLICATED}redis.call('SETRANGE', KEYS[1] .. ':none', 0, '')\n{body}"


def allow_oom(body: str) -> str:
    """A script that frees memory or keeps work going: a full server must be able to work itself empty. It has a key."""
    return f"{_EFFECTS_ARE_REPLICATED}redis.call('DEL', KEYS[1] .. ':none')\n{body}"
