"""Films with boxes and identities drawn in."""
