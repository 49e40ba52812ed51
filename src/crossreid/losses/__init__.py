"""Losses: functions of tensors, or modules, independent of batch and network, one family per file; some have a name in recipes."""
