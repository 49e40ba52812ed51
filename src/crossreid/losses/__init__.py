"""Losses: functions or modules, independent of batch and network, one family per file; some have names in recipes."""
