"""What people see of a study: its progress, and its verdict as a table in the terminal and as a page."""
