"""The site has a page for every public module, and its picture is drawn by a script of the repository."""

import re
import runpy
from pathlib import Path

from tests.public_names import public_modules

DOCS = Path(__file__).parent.parent / "docs"


def test_every_public_module_has_a_page_of_its_own_and_is_in_the_list():
    commands = {"equipoise.cli"}  # for programs there is the command line itself
    expected = set(public_modules()) - commands
    assert {page.stem for page in (DOCS / "api").glob("equipoise*.md")} == expected
    listed = re.findall(r"^(equipoise[\w.]*)$", (DOCS / "api" / "index.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(listed) == expected
    for name in expected:
        assert f".. public-module:: {name}\n" in (DOCS / "api" / f"{name}.md").read_text(encoding="utf-8")


def test_every_room_gives_its_names_an_entry():
    source = (DOCS / "_extensions" / "public_module.py").read_text(encoding="utf-8")
    rooms = re.findall(r'^    "(equipoise\.[\w.]+)",$', source, re.MULTILINE)
    assert set(rooms) == set(public_modules()) - {"equipoise", "equipoise.cli"}


def test_every_page_is_in_the_index_of_the_site():
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    pages = {str(page.relative_to(DOCS).with_suffix("")) for page in DOCS.glob("*.md")} - {"index"}
    pages |= {
        str(page.relative_to(DOCS).with_suffix(""))
        for folder in ("guides", "notebooks", "theory")
        for page in (DOCS / folder).glob("*.md")
    }
    assert [page for page in sorted(pages) if not re.search(rf"^(.*<)?{page}>?$", index, re.MULTILINE)] == []


def test_a_script_draws_the_picture_of_the_stability_map_for_light_and_dark_pages(tmp_path):
    runpy.run_path(str(DOCS / "figures" / "stability_map.py"))["main"](tmp_path)
    assert {picture.name for picture in tmp_path.iterdir()} == {"stability_map.png", "stability_map_dark.png"}
    assert all((DOCS / "figures" / picture.name).exists() for picture in tmp_path.iterdir())
