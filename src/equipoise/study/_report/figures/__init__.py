"""The figures of a report, as plotly has them in JSON."""
