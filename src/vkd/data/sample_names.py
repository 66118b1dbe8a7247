"""Names of training samples, to tell which they were."""

from collections.abc import Mapping, Sequence

from torch.utils.data import Dataset, Subset

from vkd.data.reader import PictureReader
from vkd.data.views import Views


def sample_names(
    indices: Sequence[int], readers: Mapping[str, PictureReader], images: Dataset
) -> list[str]:
    """Return the names of training images: their files, or their numbers where they have none.

    Args:
        indices: as batches have them; rows where ``images`` are views.
        readers: by split, where there are any.
        images: that are trained on.
    """
    places = list(indices)
    if isinstance(images, Views):
        places, images = [images.image_of(row) for row in indices], images.images
        # Batches without views have the numbers of the whole data set already.
        if isinstance(images, Subset):
            places = [int(images.indices[place]) for place in places]
    reader = readers.get("train")
    return [f"image {place}" if reader is None else reader.filename(place) for place in places]
