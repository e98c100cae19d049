"""The folder of the Docker files: no other user may own it, redirect it, or write to it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Project, need_root

NOBODY = 65534


def foreign_link(project: Project, elsewhere: Path) -> None:
    (project.directory / "secrets").symlink_to(elsewhere)
    os.lchown(project.directory / "secrets", NOBODY, NOBODY)


def own_link_to_foreign_folder(project: Project, elsewhere: Path) -> None:
    os.chown(elsewhere, NOBODY, NOBODY)
    (project.directory / "secrets").symlink_to(elsewhere)


def foreign_folder(project: Project, elsewhere: Path) -> None:
    (project.directory / "secrets").mkdir(0o700)
    os.chown(project.directory / "secrets", NOBODY, NOBODY)


def open_folder(project: Project, elsewhere: Path) -> None:
    (project.directory / "secrets").mkdir()
    (project.directory / "secrets").chmod(0o777)


def folder_open_to_its_group(project: Project, elsewhere: Path) -> None:
    (project.directory / "secrets").mkdir()
    (project.directory / "secrets").chmod(0o770)


def own_link_to_open_folder(project: Project, elsewhere: Path) -> None:
    elsewhere.chmod(0o777)
    (project.directory / "secrets").symlink_to(elsewhere)


def dangling_link(project: Project, elsewhere: Path) -> None:
    (project.directory / "secrets").symlink_to(elsewhere / "not there")


def open_project(project: Project, elsewhere: Path) -> None:
    project.directory.chmod(0o777)


BY_ROOT = [foreign_link, own_link_to_foreign_folder, foreign_folder]
BY_ANY_USER = [open_folder, folder_open_to_its_group, own_link_to_open_folder, dangling_link, open_project]


@pytest.mark.parametrize("plant", [*BY_ROOT, *BY_ANY_USER], ids=lambda plant: plant.__name__)
def test_a_folder_that_others_can_change_gets_no_secret(
    plant: Callable[[Project, Path], None], project: Project, tmp_path: Path
) -> None:
    if plant in BY_ROOT:
        need_root()
    project.set_up()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(0o700)
    plant(project, elsewhere)
    before = project.state()
    done = project.run("generate_docker_secrets.sh")
    assert done.returncode == 1, done.stdout
    assert done.stderr.startswith("error: ")
    assert project.state() == before
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("mode", [0o700, 0o755, 0o500 | 0o200])
def test_an_own_folder_or_a_link_to_it_is_accepted(mode: int, project: Project, tmp_path: Path) -> None:
    project.set_up()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    elsewhere.chmod(mode)
    (project.directory / "secrets").symlink_to(elsewhere)
    done = project.run("generate_docker_secrets.sh")
    assert done.returncode == 0, done.stderr
    assert (elsewhere / "db_password.txt").stat().st_size == 43


def test_a_new_output_folder_in_a_public_folder_is_private(project: Project, tmp_path: Path) -> None:
    project.set_up()
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    assert project.run("generate_docker_secrets.sh", "--output", str(shared / "mine")).returncode == 0
    assert (shared / "mine").stat().st_mode & 0o777 == 0o700
    assert project.run("generate_docker_secrets.sh", "--output", str(shared)).returncode == 1
