"""A run with a name that needs care in every format, exported once with its card and all that platforms want."""

from crossreid.inference.exporting.export import export
from crossreid.inference.exporting.platforms.platforms import write_platforms
from small_model import recipe_of, write_run

NAME = 'a "run" |<b>\n\'; $(touch x) #&'  # what a folder may be called


def exported_run(place, method="variational_distillation", *, batch=None, modality="infrared", platforms=(), **options):
    """The run's folder, what was exported, and the folders for the platforms by name."""
    folder = place / NAME
    write_run(folder, recipe_of(method, **options))
    exported = export(folder, "onnx", batch=batch)
    written = write_platforms(exported, folder, platforms, modality=modality, batch=8)
    return folder, exported, {each.platform: each for each in written}
