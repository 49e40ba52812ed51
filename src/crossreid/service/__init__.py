"""The HTTP service: a model, a gallery, and who may ask them. `crossreid serve` runs it; docs/service.md describes it."""
