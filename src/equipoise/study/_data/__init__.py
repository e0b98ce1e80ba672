"""Data of built-in tasks that no package brings: read once from the original files, kept outside of the repository.

``equipoise data NAME --from PATH`` reads the original files with :data:`DATASETS` and writes one file per data set into
:func:`data_folder`, whose arrays a task then loads as they are. Nothing is downloaded. Whatever a file from outside holds, it
is either data or one :class:`~equipoise.errors.UnusableInputError` of one line: sizes are bounded, and nothing in a file is
executed.
"""

from equipoise.study._data.contents import Contents, Mail, Pictures, Text, digest_of
from equipoise.study._data.folder import data_folder, file_of, load, save
from equipoise.study._data.known import DATASETS, Dataset, require

__all__ = [
    "DATASETS",
    "Contents",
    "Dataset",
    "Mail",
    "Pictures",
    "Text",
    "data_folder",
    "digest_of",
    "file_of",
    "load",
    "require",
    "save",
]
