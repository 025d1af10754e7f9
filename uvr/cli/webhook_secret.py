"""`python -m uvr webhook-secret`: the secret that signs the webhooks of your tasks, at a running service."""

from __future__ import annotations

import argparse
from typing import Any

from config import Settings
from uvr.cli import remote


def add_parser(commands: Any) -> None:
    """Add `webhook-secret` to the commands of an argument parser."""
    parser = commands.add_parser(
        "webhook-secret",
        help="show, make or remove your own webhook secret",
        description="Show, make or remove the secret that signs the webhooks of your tasks at a running service. A new "
        f"secret is printed once; the one it replaces signs as well for a day. {remote.OUTPUT_AND_EXIT_STATUS}",
    )
    parser.add_argument("action", choices=("show", "new", "remove"))
    remote.add_service_options(parser)
    parser.set_defaults(run=webhook_secret)


def webhook_secret(options: argparse.Namespace, settings: Settings) -> int:
    """Print what is known about the secret, or the new secret."""
    with remote.connect(options, settings) as client:
        if options.action == "remove":
            client.remove_webhook_secret()
            remote.print_message("Your webhook secret is removed; the service signs with its own again, if it has one.")
            return remote.DONE
        answer = client.make_webhook_secret() if options.action == "new" else client.webhook_secret()
    if options.json:
        remote.print_result(answer)
    elif not answer["is_set"]:
        remote.print_message("You have no webhook secret; the service signs with its own, if it has one.")
    elif options.action == "new":
        remote.print_result(answer["secret"])
    else:
        remote.print_result(f"{answer['created_at']}  {answer['fingerprint']}")
    for replaced in answer["replaced"]:
        remote.print_message(f"{replaced['fingerprint']} signs as well until {replaced['signs_until']}.")
    return remote.DONE
