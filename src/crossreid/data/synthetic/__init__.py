"""A rendered world of walking people seen by six cameras, in the layouts of public data sets."""

from crossreid.data.synthetic.layouts import LAYOUTS, synthesise
from crossreid.data.synthetic.sheet import contact_sheet

__all__ = ["LAYOUTS", "contact_sheet", "synthesise"]
