"""Where events go: files of the watch folder, a webhook, an MQTT broker, figures for Prometheus; one file each.

`sink` is what all of them are, `delivery` carries events there from the state of the watch, `outlets` puts together what a watch
was asked for.
"""
