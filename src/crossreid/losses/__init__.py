"""Losses: functions of tensors, or modules, that know no batch and no network, one family a file; some have a name in recipes."""
