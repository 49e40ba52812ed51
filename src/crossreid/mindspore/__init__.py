"""Variational distillation in MindSpore: the same recipe, batches and protocol, in another framework.

Nothing else imports this room but the command line, and it only where it is asked for: MindSpore is an extra,
`crossreid[mindspore]`, with an environment of its own (docs/mindspore.md).
"""
