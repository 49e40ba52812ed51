"""A small city: six cameras along a graph of streets, people who walk between them by day and by night, and the ground
truth.

`places` says where cameras, gates and streets are, `walking` who is where when; `backdrops`, `sprites` and `stage` draw
what a camera sees; `films` writes video files, `truth` their ground truth and detections, `crops` images of other
people to train on and of some walkers to enrol; `city` combines everything.
"""

from crossreid.data.synthetic.city.city import synthesise_city

__all__ = ["synthesise_city"]
