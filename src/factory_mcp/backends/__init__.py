"""How a droid is run, and where."""
