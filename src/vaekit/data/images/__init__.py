"""Images: where they come from, how they become tensors, how they go back, how they are written and shown."""

from vaekit.data.dataset import Progress, Raw, Resident
from vaekit.data.images.collection import Images
from vaekit.data.images.load import load, recognises
from vaekit.data.images.schema import ImageSchema, from_tensor, to_tensor
from vaekit.data.images.write import is_picture_file, sheet, to_array, write, write_picture
from vaekit.data.storage.disk import DiskImages

__all__ = [
    "DiskImages",
    "ImageSchema",
    "Images",
    "Progress",
    "Raw",
    "Resident",
    "from_tensor",
    "is_picture_file",
    "load",
    "recognises",
    "sheet",
    "to_array",
    "to_tensor",
    "write",
    "write_picture",
]
