"""From cameras to identities: frames in, detections, tracks within a camera, identities across cameras, events out."""
