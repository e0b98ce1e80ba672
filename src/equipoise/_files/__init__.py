"""Files: written whole or not at all, and read within limits.

What a user names may be anything: a pipe, a device, a file that unfolds to gigabytes. ``read_regular`` and ``read_text`` open
regular files of a bounded size only. ``parse_json``, ``parse_toml``, ``parse_yaml`` and ``checked_tree`` give trees of plain
values with a bounded number of levels and values, so that whoever walks them needs no limits of his own. Whatever is wrong is
one :class:`~equipoise.errors.UnusableInputError` of one line that names the file.
"""

from equipoise._files.formats import parse_json, parse_toml, parse_yaml
from equipoise._files.regular import CONFIGURATION_BYTES, open_regular, read_regular, read_text
from equipoise._files.trees import DEPTH, PARTS, checked_tree
from equipoise._files.writing import replace_file, replacing

__all__ = [
    "CONFIGURATION_BYTES",
    "DEPTH",
    "PARTS",
    "checked_tree",
    "open_regular",
    "parse_json",
    "parse_toml",
    "parse_yaml",
    "read_regular",
    "read_text",
    "replace_file",
    "replacing",
]
