"""Destinations of events: files in the watch folder, a webhook, an MQTT broker, Prometheus metrics; one module each.

`sink` is their common protocol, `delivery` carries events there from the state of the watch, `outlets` puts together
what a watch was configured with.
"""
