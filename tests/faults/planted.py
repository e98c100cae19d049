"""Faults to plant in a copy of the project, and for each the tests that must fail then.

Each fault once passed every test. ``make prove`` plants all of them, ``make test`` those that are found quickly.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import PROJECT

COPIED = ("src", "scripts", "config", "tests", "docs", "main.py", "pyproject.toml", "Makefile")
TIMEOUT = 600


@dataclass(frozen=True)
class Fault:
    """One planted fault.

    Attributes:
        name: What is wrong then.
        file: The file to change.
        old: The current text; it occurs once.
        new: The new text.
        tests: The tests that must fail, each when run alone.
        is_cheap: Whether they take only a few seconds.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    is_cheap: bool = True

    def plant(self, directory: Path) -> None:
        """Plant it in a copy of the project.

        Raises:
            AssertionError: The code has changed, and the fault no longer fits.
        """
        path = directory / self.file
        text = path.read_text()
        assert text.count(self.old) == 1, f"{self.name}: {self.file} has {text.count(self.old)} times: {self.old}"
        path.write_text(text.replace(self.old, self.new))


def copy_project(directory: Path) -> None:
    """Make a copy that uses the same packages."""
    directory.mkdir()
    for name in COPIED:
        source = PROJECT / name
        if source.is_dir():
            shutil.copytree(source, directory / name, ignore=shutil.ignore_patterns("__pycache__"), symlinks=True)
        else:
            shutil.copy(source, directory / name)
    (directory / ".venv").symlink_to(PROJECT / ".venv")


def run_test(directory: Path, test: str) -> subprocess.CompletedProcess[str]:
    """Run one test of a copy, in its short form."""
    dropped = ("COVERAGE_", "COV_CORE_", "PYTEST_")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(dropped) and name != "PROVE"}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", test],
        cwd=directory,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT,
    )


_CRASHES = "tests/faults/test_crashes.py"
_REFUSED = f"{_CRASHES}::test_an_error_at_each_step_leaves_the_old_state_and_is_reported"
_KILLED = f"{_CRASHES}::test_a_kill_at_each_step_leaves_the_old_or_new_state_and_the_next_run_works"
_MODES = "tests/faults/test_modes.py::test_the_mode_of_every_file_is_right_from_its_first_byte"
_POWER = "tests/faults/test_power_loss.py::test_a_power_failure_leaves_the_old_or_new_value_and_at_the_end_the_new_one"
_HOSTILE = "tests/faults/test_hostile.py"
_SERVERS = "tests/faults/test_hostile_servers.py::test_any_wrong_response_gives_one_clear_error"
_FUZZ = "tests/fuzz/test_parsers.py"
_ENCRYPTION = "tests/e2e/test_app_encryption.py"
_REENCRYPTOR = "tests/unit/test_reencryptor.py"
_SCANNER = "tests/unit/test_leak_scanner.py"
_STATES = "tests/e2e/test_states.py"
_RESCUE = "tests/e2e/test_rescue.py"

FAULTS = (
    Fault(
        "a backup that cannot be written is done all the same",
        "src/ops/lifecycle/backup.py",
        "        replace_file(path, text.encode(), mode=0o400, must_not_exist=True)\n",
        "        try:\n"
        "            replace_file(path, text.encode(), mode=0o400, must_not_exist=True)\n"
        "        except StoreError:\n"
        "            return len(snapshot.values)\n",
        (f"{_REFUSED}[backup]",),
    ),
    Fault(
        "a Docker file that cannot be written is left out",
        "src/ops/containers/secret_files.py",
        "        staged.append(stage_file(path, file.content, mode=FILE_MODE, owner=(folder.uid, folder.gid)))\n",
        "        try:\n"
        "            staged.append(stage_file(path, file.content, mode=FILE_MODE, owner=(folder.uid, folder.gid)))\n"
        "        except StoreError:\n"
        "            continue\n",
        (f"{_REFUSED}[later-Docker-files]", f"{_REFUSED}[first-Docker-files]"),
    ),
    Fault(
        "new folders can be entered by everybody",
        "src/utils/secrets/atomicfile.py",
        "            os.mkdir(directory, 0o700)\n",
        "            os.mkdir(directory, 0o755)\n            os.chmod(directory, 0o700)\n",
        (f"{_MODES}[first-set-up]",),
    ),
    Fault(
        "temporary files are open to everybody until they are complete",
        "src/utils/secrets/atomicfile.py",
        "    descriptor = os.open(path, flags, stat.S_IRUSR | stat.S_IWUSR)\n",
        "    descriptor = os.open(path, flags, 0o666)\n",
        (
            f"{_MODES}[backup]",
            f"{_HOSTILE}::test_another_user_who_tries_to_read_every_file_all_the_time_reads_no_value",
        ),
        is_cheap=False,
    ),
    Fault(
        "the lock of the audit trail can be taken by everybody",
        "src/utils/secrets/lockedfile.py",
        "LOCK_MODE = 0o600\n",
        "LOCK_MODE = 0o666\n",
        (f"{_MODES}[first-set-up]",),
    ),
    Fault(
        "base64 is cut without a look at where the value begins",
        "tests/leaks.py",
        "(offset + len(data)) * 8 // 6]",
        'len(encoded.rstrip(b"=")) - (1 if len(data) % 3 else 0)]',
        (f"{_SCANNER}::test_leak_scanner_finds_base64_of_each_length_at_each_offset",),
    ),
    Fault(
        "a killed writer's file is in place before it is complete",
        "src/utils/secrets/atomicfile.py",
        '    return os.path.join(directory, f".{name}.{os.getpid()}-{os.urandom(8).hex()}.tmp")\n',
        '    return os.path.join(directory, f"{name}.{os.getpid()}-{os.urandom(8).hex()}")\n',
        (f"{_KILLED}[set-in-a-dotenv-file]",),
    ),
    Fault(
        "the settings name a store before it is written",
        "src/ops/lifecycle/migrate.py",
        "            if changes:\n                migration.target_store.save(",
        "            switch(deployment, migration.target)\n"
        "            if changes:\n                migration.target_store.save(",
        (f"{_KILLED}[migrate-and-empty-the-source]", f"{_POWER}[migrate-and-empty-the-source]"),
    ),
    Fault(
        "the contents of Docker files are not synced",
        "src/ops/containers/secret_files.py",
        "mode=FILE_MODE, owner=(folder.uid, folder.gid)))",
        "mode=FILE_MODE, owner=(folder.uid, folder.gid), sync=False))",
        (f"{_POWER}[first-Docker-files]", f"{_POWER}[rotate]"),
    ),
    Fault(
        "the names of Docker files are not synced",
        "src/ops/containers/secret_files.py",
        "        new.commit()\n    sync_directory(folder.directory)\n",
        "        new.commit()\n",
        (f"{_POWER}[first-Docker-files]",),
    ),
    Fault(
        "a file is copied by a call that the model of the disk does not know",
        "src/utils/secrets/atomicfile.py",
        "            rest = rest[os.write(descriptor, rest) :]\n",
        "            rest = rest[os.pwrite(descriptor, rest, len(data) - len(rest)) :]\n",
        (f"{_POWER}[backup]",),
    ),
    Fault(
        "until when an earlier value is accepted may be anything",
        "src/utils/secrets/snapshot.py",
        '_time(old["valid_until"])',
        'old["valid_until"]',
        (
            f"{_FUZZ}::test_an_encrypted_file_whose_content_is_almost_right",
            f"{_FUZZ}::test_earlier_values_beside_a_docker_file",
        ),
    ),
    Fault(
        "an encrypted file that was changed is taken for an empty one",
        "src/utils/secrets/backends/file.py",
        "                raise self._decryption_error(token) from None\n",
        "                return Snapshot({}, revision=_revision(token))\n",
        (f"{_FUZZ}::test_a_changed_encrypted_file_is_refused_or_has_the_same_content",),
    ),
    Fault(
        "the audit trail cannot hold every name",
        "src/ops/deployment/audit.py",
        '.encode(errors="backslashreplace")',
        ".encode()",
        (f"{_FUZZ}::test_a_journal",),
    ),
    Fault(
        "a program that has seen two values sees no further one",
        "src/utils/secrets/manager.py",
        "            if monotonic() < self._next_try:\n                return\n            outcome",
        "            if monotonic() < self._next_try or self._attempts > 2:\n"
        "                return\n            outcome",
        ("tests/faults/test_load.py::test_no_read_fails_while_values_change_and_the_store_is_unavailable[file]",),
        is_cheap=False,
    ),
    Fault(
        "a thread that has seen two values reads no more",
        "tests/faults/test_load.py",
        "        while not last_one or",
        "        while self.seen < 3 and not last_one or self.seen < 3 and",
        ("tests/faults/test_load.py::test_no_read_fails_while_values_change_and_the_store_is_unavailable[file]",),
        is_cheap=False,
    ),
    Fault(
        "what finishes a rotation relies on what a journal need not hold",
        "src/ops/lifecycle/rotate.py",
        'for name in content["names"]] if content else []',
        'for name in content["names"] if content["revision"]] if content else []',
        (f"{_FUZZ}::test_a_journal",),
    ),
    Fault(
        "a vault may answer anything to a write",
        "src/utils/secrets/backends/hashicorp_vault.py",
        '        with ResponseGuard(self._where()):\n            version = answer["data"]["version"]\n',
        '        version = answer["data"]["version"]\n',
        (f"{_SERVERS}_in_time[vault-save]",),
    ),
    Fault(
        "Azure may answer anything",
        "src/utils/secrets/backends/azure_keyvault.py",
        "                with ResponseGuard(self.url, (AzureError, OSError, ValueError)):\n"
        "                    return method(*arguments, **parameters)\n",
        "                return method(*arguments, **parameters)\n",
        (f"{_SERVERS}_in_time[azure-load]",),
    ),
    Fault(
        "a service's words are shown with a value in them",
        "src/utils/secrets/failures.py",
        "    if _holds_secret(text[:_MOST_SEARCHED], hidden):\n",
        "    if _holds_secret(text[_MOST_SEARCHED:], hidden):\n",
        ("tests/unit/test_failures.py::test_what_a_server_says_is_one_short_line_without_secrets",),
    ),
    Fault(
        "a namespace is written to where there is none",
        "src/utils/secrets/backends/hashicorp_vault.py",
        "            self._require_namespaces()\n            return save_flat_map(",
        "            return save_flat_map(",
        ("tests/contract/test_vault_sign_in.py::test_a_server_without_namespaces_is_not_written_to_in_place_of_one",),
    ),
    Fault(
        "a missing permission is taken for a wrong token",
        "src/utils/secrets/backends/hashicorp_vault_failures.py",
        "    return is_answer_of_vault(error) and is_unknown\n",
        "    return is_answer_of_vault(error)\n",
        (
            "tests/contract/test_vault_sign_in.py::test_a_token_without_the_default_policy_is_used_and_told_from_a_wrong_one",
        ),
    ),
    Fault(
        "a whole set of secrets is made where there was one",
        "src/ops/setup/leftovers.py",
        "    return _find_obstacle_to_a_set(deployment, found)\n",
        "    return None if found.kind else _find_obstacle_to_a_set(deployment, found)\n",
        (f"{_STATES}::test_no_command_loses_or_replaces_a_value[file, the file deleted]",),
    ),
    Fault(
        "a value that is gone from the store is made again",
        "src/ops/setup/leftovers.py",
        "        return lost_values(deployment, tuple(lost)) if lost else None\n",
        "        return lost_values(deployment, tuple(lost)) if not lost else None\n",
        (f"{_STATES}::test_no_command_loses_or_replaces_a_value[file, a value taken out of the file]",),
    ),
    Fault(
        "a rescue replaces what the store has",
        "src/ops/lifecycle/rescue.py",
        "    if not replace_present:\n",
        "    if replace_present:\n",
        (f"{_RESCUE}::test_a_store_that_can_be_read_keeps_its_values_unless_told",),
    ),
    Fault(
        "what the containers use is not kept when other values take its place",
        "src/ops/setup/apply.py",
        "put_aside(deployment, found, plan, undo) if found.start_over else []",
        "[]",
        (f"{_RESCUE}::test_docker_files_with_other_values_are_kept_aside",),
    ),
    Fault(
        "any key is the right copy",
        "src/ops/setup/near_keys.py",
        "    except UnsupportedVersionError:\n        return True\n    except SecretsError:\n        return False\n",
        "    except UnsupportedVersionError:\n        return True\n    except SecretsError:\n        return True\n",
        (f"{_RESCUE}::test_a_copy_of_the_key_can_be_checked_on_any_day",),
    ),
    Fault(
        "a key at the question for a path is shown",
        "src/ops/wizard/local_stores.py",
        "                    hide=looks_like_master_key,\n",
        "",
        (f"{_RESCUE}::test_a_key_at_the_question_for_a_path_is_not_shown",),
    ),
    Fault(
        "a value of one encrypted column opens in another",
        "src/app/encryption.py",
        "salt=None, info=info)",
        'salt=None, info=b"")',
        (f"{_ENCRYPTION}::test_a_value_of_one_column_does_not_open_in_another",),
    ),
    Fault(
        "a login is written without a look at the canaries",
        "src/app/accounts.py",
        "                await canary.require_for_write(connection, keys)\n",
        "",
        (f"{_ENCRYPTION}::test_a_wrong_key_is_named_and_nothing_is_written_with_it",),
    ),
    Fault(
        "the canaries are not locked by what writes",
        "src/app/canary.py",
        '    tokens = await _tokens(connection, sql.SQL(" FOR SHARE"))\n    if not tokens:\n',
        '    tokens = await _tokens(connection, sql.SQL(""))\n    if not tokens:\n',
        (f"{_ENCRYPTION}::test_a_write_waits_for_a_re_encryption_that_is_ending",),
    ),
    Fault(
        "the canaries of earlier keys go before the data is encrypted again",
        "src/app/reencrypt.py",
        "            columns = await _existing_columns(connection)\n            await connection.commit()\n",
        "            columns = await _existing_columns(connection)\n"
        "            await canary.keep_only_current(connection, self._keys)\n            await connection.commit()\n",
        (f"{_ENCRYPTION}::test_values_that_no_key_opens_stop_it_unless_they_are_to_be_discarded",),
    ),
    Fault(
        "values that no key opens are removed without being asked",
        "src/app/reencrypt.py",
        "            elif self._discards:\n",
        "            elif self._keys:\n",
        (f"{_ENCRYPTION}::test_values_that_no_key_opens_stop_it_unless_they_are_to_be_discarded",),
    ),
    Fault(
        "the earlier key is dropped before the data is proven to be readable without it",
        "src/ops/lifecycle/reencrypt.py",
        "            counts = self._rewrite(snapshot)\n            check()\n            self._drop_earlier(snapshot)\n",
        "            self._drop_earlier(snapshot)\n            check()\n            counts = self._rewrite(snapshot)\n",
        (
            f"{_REENCRYPTOR}::test_without_the_proof_the_earlier_values_stay[unreadable]",
            f"{_REENCRYPTOR}::test_without_the_proof_the_earlier_values_stay[not proven]",
        ),
    ),
)
