"""The pictures in the README are what a terminal shows."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from tests.conftest import PROJECT
from tests.pictures import PICTURES, draw_all


def test_the_pictures_are_up_to_date_and_contain_no_secret() -> None:
    drawn = draw_all()
    assert {path.name: path.read_text() for path in PICTURES.glob("*.svg")} == drawn
    for svg in drawn.values():
        assert ElementTree.fromstring(svg).tag.endswith("svg")
        assert not re.search(r"[A-Za-z0-9_-]{43}=|/tmp/|https?://(?!www\.w3\.org|www\.textualize\.io)", svg)


def test_every_picture_is_shown_somewhere() -> None:
    pages = [*PROJECT.glob("*.md"), *(PROJECT / "docs").rglob("*.md")]
    shown = {name for page in pages for name in re.findall(r"pictures/(\w+\.svg)", page.read_text())}
    assert shown == {path.name for path in PICTURES.glob("*.svg")}
