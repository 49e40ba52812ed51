"""What the package adds to crossreid: `loss`, `method` and `dataset` each register one thing."""
