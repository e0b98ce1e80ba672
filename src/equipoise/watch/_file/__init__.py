"""The file of a run: its lines as typed values, parts of it, and what is kept of it for the next look."""
