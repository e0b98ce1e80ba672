"""The version, as the changelog has it."""

__version__ = "0.1.0"
