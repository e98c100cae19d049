"""Repeated reads in one process."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import aws_secretsmanager_caching
import decouple
import dynaconf
import environs
import pydantic_settings

from src.utils.secrets import SecretsManager, redaction
from src.utils.secrets import get_secret as get_secret_of_process
from src.utils.secrets import manager as manager_module
from src.utils.secrets.settings import Settings
from tests.servers.aws import running_aws

from .fixtures import VALUE, make_file
from .measure import Result, expressions


class _Model(pydantic_settings.BaseSettings):
    SECRET_5: str = ""


def reads(folder: Path) -> Iterator[Result]:
    """Compare ``get_secret`` with other ways to read a setting."""
    manager = SecretsManager(settings=Settings(make_file(folder, 11)))
    manager_module._manager = manager  # noqa: SLF001
    os.environ["SECRET_5"] = VALUE
    names = {
        "get_secret": get_secret_of_process,
        "method": manager.get_secret,
        "environ_get": os.environ.get,
        "table": {"SECRET_5": VALUE},
        "env": environs.Env(),
        "config": decouple.AutoConfig(search_path=str(folder)),
        "settings": dynaconf.Dynaconf(envvar_prefix=False),
        "model": _Model(),
    }
    ours = "get_secret('SECRET_5')"
    for title, theirs, target in (
        ("os.environ.get(name)", "environ_get('SECRET_5')", 0.35),
        ("dict.get(name)", "table.get('SECRET_5')", None),
        ("environs, env.str(name)", "env.str('SECRET_5')", None),
        ("python-decouple, config(name)", "config('SECRET_5')", None),
        ("dynaconf, settings.NAME", "settings.SECRET_5", None),
        ("pydantic-settings, an attribute", "model.SECRET_5", None),
    ):
        assert eval(ours, names) == eval(theirs, names) == VALUE, title
        number = 500_000 if title.startswith(("os", "dict", "pydantic")) else 20_000
        yield Result("hot get_secret(name)", title, *expressions(ours, theirs, names, number), target)
    times = expressions("method('SECRET_5')", "environ_get('SECRET_5')", names)
    yield Result("hot manager.get_secret(name)", "os.environ.get(name)", *times, 0.35)
    with running_aws() as aws:
        aws.client().create_secret(Name="cctv-face-detection", SecretString=json.dumps({"SECRET_5": VALUE}))
        names["cache"] = aws_secretsmanager_caching.SecretCache(client=aws.client())
        names["json"] = json
        theirs = "json.loads(cache.get_secret_string('cctv-face-detection'))['SECRET_5']"
        yield Result("hot get_secret(name)", "aws-secretsmanager-caching", *expressions(ours, theirs, names, 20_000))


def redacted_log_records(folder: Path) -> Iterator[Result]:
    """Measure the search for a store's values in each log record."""
    manager = SecretsManager(settings=Settings(make_file(folder, 11)))
    manager.refresh()
    logger = logging.getLogger("bench")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    logger.addHandler(logging.StreamHandler(open(os.devnull, "w", encoding="utf-8")))  # noqa: SIM115

    plain = logging.getLogRecordFactory()
    redaction.install()
    factories = {"ours": logging.getLogRecordFactory(), "theirs": plain}

    def log(factory: str) -> None:
        logging.setLogRecordFactory(factories[factory])
        for _ in range(100):
            logger.info("request %s answered with %d in %.1f ms", "/ready", 200, 1.25)

    ours, theirs = expressions("log('ours')", "log('theirs')", {"log": log}, 50)
    yield Result("a log record of 45 characters, 11 secrets", "without redaction", ours / 100, theirs / 100)
