"""What comes before a study is run: its files, a plan of what it takes and can show, and another study made of it."""
