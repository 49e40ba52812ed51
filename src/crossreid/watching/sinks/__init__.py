"""Destinations of events: files in the watch folder, a webhook, an MQTT broker, Prometheus metrics; one module each.

`sink` is their common protocol, `delivery` sends them events from the state of the watch, and `outlets` assembles those
configured for a watch.
"""
