"""The HTTP API, the first of the three processes: accepts tasks and reports on them. It never touches audio.

`python app.py` runs gunicorn in the foreground until SIGTERM, configured by API_HOST, API_PORT, API_WORKERS and
API_THREADS. `gunicorn "app:create_app()"` serves the same application with gunicorn's own options. The process
keeps no state of its own, so it can be restarted at any time: tasks are in Redis, uploads and stems in the storage.
"""

from __future__ import annotations

import uvr.prerequisites  # noqa: F401  # explains the set-up if a package is missing

from contextlib import closing, suppress

import structlog
from flask import Flask
from flask_openapi3.models.info import Info
from flask_openapi3.openapi import OpenAPI
from redis import RedisError

from config import VERSION, Settings, SettingsError, load_settings, read_settings, refuse_to_start
from uvr import logs
from uvr.api.auth.basic import SECURITY_SCHEMES, password_faults, warn_about_password
from uvr.api.cors import register_cors
from uvr.api.cross_site import refuse_other_sites
from uvr.api.json_body import MAX_JSON_BYTES
from uvr.api.openapi import ABOUT
from uvr.api.problems import Problem, register_problems, validation_problem
from uvr.api.responses import register_responses
from uvr.api.routes.admin import admin
from uvr.api.routes.console import register_console
from uvr.api.routes.docs import register_docs
from uvr.api.routes.events import events
from uvr.api.routes.files import files
from uvr.api.routes.generate import generate
from uvr.api.routes.health import health
from uvr.api.routes.metrics import metrics
from uvr.api.routes.models import models
from uvr.api.routes.peaks import peaks
from uvr.api.routes.session import session
from uvr.api.routes.stems import stems
from uvr.api.routes.tasks import tasks
from uvr.api.routes.users import users
from uvr.api.services import attach, open_services, services_of
from uvr.environment.variables_without_effect import log_variables_without_effect
from uvr.privacy import keep_private
from uvr.redis.clients import connect
from uvr.redis.durability import log_durability
from uvr.redis.requirements import check_redis_at_start
from uvr.storage.uploads import remove_abandoned_parts
from uvr.uploader.housekeeping.clock import HousekeepingClock

log = structlog.get_logger()


def create_app(settings: Settings | None = None) -> Flask:
    """The WSGI application, not connected to anything yet. Raises `SettingsError` for an invalid configuration.

    Without `settings` it reads them from the environment and sets up logging: this is how a plain gunicorn calls it.
    """
    if settings is None:
        settings = read_settings()
        keep_private(settings.umask)
        logs.configure(settings.log_level, settings.log_format, process="api")
        log_variables_without_effect()
        return _worker_app(settings)
    if faults := password_faults(settings):
        raise SettingsError(faults)
    app = OpenAPI(
        "uvr-api",
        info=Info(title="uvr-api", version=VERSION, description=ABOUT),
        security_schemes=SECURITY_SCHEMES,
        doc_ui=False,
        static_folder=None,
        validation_error_status=400,
        validation_error_model=Problem,
        validation_error_callback=validation_problem,
    )
    app.config["MAX_CONTENT_LENGTH"] = MAX_JSON_BYTES
    attach(app, open_services(settings))
    register_responses(app)
    refuse_other_sites(app, settings)
    register_cors(app, settings.allowed_origins)
    register_problems(app)
    for blueprint in (generate, tasks, events, stems, peaks, users, session, models, admin, files, health, metrics):
        app.register_api(blueprint)
    register_docs(app)
    register_console(app, settings)
    return app


def main() -> None:
    """Serve until SIGTERM. Exits with 2 if the configuration is invalid, the port in use or the Redis unsuitable."""
    from uvr.api.server.gunicorn import Server, port_faults  # not needed when a plain gunicorn calls create_app

    settings = load_settings()
    keep_private(settings.umask)
    logs.configure(settings.log_level, settings.log_format, process="api")
    log_variables_without_effect()
    try:
        create_app(settings)  # workers create their own; this one reports errors once, before the fork
    except SettingsError as error:
        refuse_to_start(error.faults)
    if faults := port_faults(settings):
        refuse_to_start(faults)
    warn_about_password(settings)
    if settings.link_warning:
        log.warning("links.lead_here", error=settings.link_warning)
    # Check Redis here, while there is one process. If it does not answer yet, the workers log that.
    with closing(connect(settings)) as clients:
        try:
            check_redis_at_start(clients, settings)
        except SettingsError as error:
            refuse_to_start(error.faults)
        log_durability(clients, settings.redis_task_queue)
        with suppress(RedisError):  # without the time of Redis nothing counts as abandoned
            clock = HousekeepingClock(clients.commands, settings.redis_task_queue).read()
            remove_abandoned_parts(settings, clock.has_passed)
    Server(settings, lambda: _worker_app(settings)).run()


def _worker_app(settings: Settings) -> Flask:
    """The application of one gunicorn worker, which flushes its metrics to Redis until it exits."""
    app = create_app(settings)
    services_of(app).totals.send_until_exit()
    return app


if __name__ == "__main__":
    main()
