"""What every test shares: property tests draw the same examples each run and are not held to a clock."""

from hypothesis import settings

settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")
