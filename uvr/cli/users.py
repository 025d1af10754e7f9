"""`python -m uvr users`: add and remove users, change their passwords, and give them bearer tokens for machines.

It changes the file that BASIC_AUTH_USERS_FILE names; a running API reads that file again at the next request. Promises
to scripts: passwords and tokens are never arguments, which other users of the machine could see. stdout has only
results: a generated password, a new token, or the lines of a list. The exit status is 0 if everything was done, 1 if
there is no such user or token, or if the user exists already, and 2 if the command was wrong or the file could not be
read or written.
"""

from __future__ import annotations

import argparse
import getpass
import json
import secrets
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NoReturn

from config import Settings, SettingsError
from uvr.api.auth.users_file import (
    MAX_PASSWORD_BYTES,
    VARIABLE,
    Token,
    UsersFile,
    locked,
    name_fault,
    read_users,
    replace,
)

DONE, REFUSED, NOT_DONE = 0, 1, 2

_COST = 12
_GENERATED_BYTES = 16
_MAX_LABEL_LENGTH = 100


def add_parser(commands: Any) -> None:
    """Add `users` to the commands of an argument parser."""
    parser = commands.add_parser("users", help="manage the users and their tokens", description=__doc__)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    add = _action(actions, "add", add_user, "add a user")
    change = _action(actions, "passwd", change_password, "change the password of a user; tokens stay valid")
    remove = _action(actions, "remove", remove_user, "remove a user and the user's tokens; the admin sees the tasks")
    show = _action(actions, "list", list_users, "list the users of the file")
    for action in (add, change, remove):
        action.add_argument("name", metavar="NAME")
    for action in (add, change):
        source = action.add_mutually_exclusive_group()
        source.add_argument("--generate", action="store_true", help="choose a random password and print it")
        source.add_argument("--stdin", action="store_true", help="read the password from the first line of stdin")
    token = actions.add_parser("token", help="manage bearer tokens").add_subparsers(metavar="ACTION", required=True)
    create = _action(token, "create", create_token, "create a token and print it; it is never shown again")
    create.add_argument("name", metavar="NAME", help="the user, or the admin, whose requests it will send")
    create.add_argument("--label", default="", help="what it is for; shown in the list")
    show_tokens = _action(token, "list", list_tokens, "list the tokens by their ids")
    revoke = _action(token, "revoke", revoke_token, "revoke a token")
    revoke.add_argument("id", metavar="ID", help="its id in the list")
    for action in (show, show_tokens):
        action.add_argument("--json", action="store_true", help="print one JSON object per line")


def _action(actions: Any, name: str, run: Callable[[argparse.Namespace, Settings], int], summary: str) -> Any:
    parser = actions.add_parser(name, help=summary)
    parser.set_defaults(run=run)
    return parser


def add_user(options: argparse.Namespace, settings: Settings) -> int:
    """Add a user."""
    name = options.name
    if fault := name_fault(name):
        _refuse(fault, NOT_DONE)
    if name == settings.basic_auth_username:
        _refuse(f"{name} is the admin, whose password is BASIC_AUTH_PASSWORD in .env.")

    def require_new(file: UsersFile) -> None:
        if name in file.hashes:
            _refuse(f"There is a user {name} already; `python -m uvr users passwd` changes the password.")

    def add(file: UsersFile) -> tuple[str, ...]:
        require_new(file)
        return file.with_user(name, hashed)

    require_new(_read(settings))  # before anyone types a password for nothing
    password, hashed = _new_password(options)
    _change(settings, add)
    if options.generate:
        _show_password(options.name, password)
    return DONE


def change_password(options: argparse.Namespace, settings: Settings) -> int:
    """Change the password of a user."""

    def change(file: UsersFile) -> tuple[str, ...]:
        _require_user(file, options.name)
        return file.with_user(options.name, hashed)

    _require_user(_read(settings), options.name)
    password, hashed = _new_password(options)
    _change(settings, change)
    if options.generate:
        _show_password(options.name, password)
    return DONE


def remove_user(options: argparse.Namespace, settings: Settings) -> int:
    """Remove a user, the user's tokens, and the user's webhook secret, as far as Redis answers."""

    def remove(file: UsersFile) -> tuple[str, ...]:
        _require_user(file, options.name)
        return file.without_user(options.name)

    _change(settings, remove)
    if fault := _forget_webhook_secret(options.name, settings):
        sys.stderr.write(
            f"{options.name} is removed, but not the webhook secret that {options.name} may have, because Redis does "
            f"not answer or accept writes ({fault}). A new user of this name would have it.\n"
        )
    return DONE


def _forget_webhook_secret(name: str, settings: Settings) -> str:
    """Why the webhook secret could not be removed, "" if it is."""
    from redis import RedisError

    from uvr.redis.clients import connect
    from uvr.webhooks.user_secrets import UserSecrets

    try:
        with closing(connect(settings)) as clients:
            UserSecrets(clients.commands, settings.redis_task_queue).remove(name)
    except (RedisError, SettingsError) as error:
        return str(error)
    return ""


def list_users(options: argparse.Namespace, settings: Settings) -> int:
    """Print the users of the file, and how many tokens each has."""
    file = _read(settings)
    for name in file.hashes:
        tokens = sum(token.user == name for token in file.tokens.values())
        _print(json.dumps({"name": name, "tokens": tokens}, ensure_ascii=False) if options.json else name)
    if not file.hashes:
        sys.stderr.write(f"{settings.basic_auth_username}, the admin, is the only user.\n")
    return DONE


def create_token(options: argparse.Namespace, settings: Settings) -> int:
    """Create a token, and print its secret."""
    if len(options.label) > _MAX_LABEL_LENGTH or not options.label.isprintable():
        _refuse(f"A label has at most {_MAX_LABEL_LENGTH} characters and no control characters.", NOT_DONE)
    token, secret = Token.create(options.name, options.label)

    def create(file: UsersFile) -> tuple[str, ...]:
        if options.name != settings.basic_auth_username:
            _require_user(file, options.name)
        return (*file.lines, token.line)

    _change(settings, create)
    _print(secret)
    sys.stderr.write(f"This is the token {token.id}. It is not stored and cannot be shown again.\n")
    return DONE


def list_tokens(options: argparse.Namespace, settings: Settings) -> int:
    """Print the tokens without their secrets, the oldest first."""
    file = _read(settings)
    for token in file.tokens.values():
        facts = {"id": token.id, "user": token.user, "created_at": token.created_at, "label": token.label}
        _print(json.dumps(facts, ensure_ascii=False) if options.json else "  ".join(facts.values()).rstrip())
    if not file.tokens:
        sys.stderr.write("There are no tokens.\n")
    return DONE


def revoke_token(options: argparse.Namespace, settings: Settings) -> int:
    """Revoke a token."""

    def revoke(file: UsersFile) -> tuple[str, ...]:
        found = next((token for token in file.tokens.values() if token.id == options.id), None)
        if found is None:
            _refuse(f"There is no token {options.id}; `python -m uvr users token list` lists them.")
        return file.without_token(found)

    _change(settings, revoke)
    return DONE


def _path(settings: Settings) -> Path:
    """The users file, where a symbolic link leads to."""
    if settings.basic_auth_users_file is None:
        _refuse(
            f"{VARIABLE} is not set. Set it in .env, for example to data/users.htpasswd, repeat this command, and "
            f"restart the API.",
            NOT_DONE,
        )
    return settings.basic_auth_users_file.resolve()


def _read(settings: Settings) -> UsersFile:
    """The users file, empty if there is none yet."""
    path = _path(settings)
    try:
        return read_users(path if path.exists() else None, settings.basic_auth_username)
    except SettingsError as error:
        _refuse("\n".join(error.faults), NOT_DONE)


def _change(settings: Settings, edit: Callable[[UsersFile], tuple[str, ...]]) -> None:
    """Replace the file by the lines that `edit` makes of it, while other commands wait."""
    path = _path(settings)
    with locked(path):
        replace(path, edit(_read(settings)))


def _require_user(file: UsersFile, name: str) -> None:
    if name not in file.hashes:
        _refuse(f"There is no user {name}; `python -m uvr users list` lists them.")


def _new_password(options: argparse.Namespace) -> tuple[str, str]:
    """A new password from where the options say, and its bcrypt hash."""
    try:
        import bcrypt

        from uvr.api.auth.basic import weakness_of
    except ModuleNotFoundError as error:
        _refuse(f"{error.name} is not installed here; run this command where the API runs.", NOT_DONE)
    try:
        password = _given_password(options)
        encoded = password.encode()
    except UnicodeError:
        _refuse("The password is not valid UTF-8; nothing was changed.", NOT_DONE)
    if weakness := weakness_of(password) if password else "is empty":
        _refuse(f"The password {weakness}; choose another one, or use --generate.", NOT_DONE)
    if len(encoded) > MAX_PASSWORD_BYTES:
        _refuse(f"bcrypt reads only {MAX_PASSWORD_BYTES} bytes of a password; choose a shorter one.", NOT_DONE)
    return password, bcrypt.hashpw(encoded, bcrypt.gensalt(_COST)).decode()


def _given_password(options: argparse.Namespace) -> str:
    if options.generate:
        return secrets.token_urlsafe(_GENERATED_BYTES)
    if options.stdin:
        return sys.stdin.buffer.readline().decode().rstrip("\r\n")
    if not sys.stdin.isatty():
        _refuse("There is no terminal to ask for a password; use --stdin or --generate.", NOT_DONE)
    try:
        password = getpass.getpass(f"Password for {options.name}: ")
        if getpass.getpass("The same again: ") != password:
            _refuse("The two are not the same; nothing was changed.", NOT_DONE)
    except EOFError:
        _refuse("There was no password; nothing was changed.", NOT_DONE)
    return password


def _refuse(sentence: str, status: int = REFUSED) -> NoReturn:
    """Print why nothing was changed, and end the command."""
    sys.stderr.write(f"{sentence}\n")
    raise SystemExit(status)


def _show_password(name: str, password: str) -> None:
    """The password alone goes to stdout, for scripts; what it is goes to stderr, for people."""
    _print(password)
    sys.stderr.write(f"This is the password of {name}. It is not stored and cannot be shown again.\n")


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
