"""Pictures to try exported networks on."""

from collections.abc import Iterator
from typing import NamedTuple

from PIL import Image

from vkd.config import TrainingConfig
from vkd.data.samples import OpenSamples
from vkd.deployment.samples import input_format, pictures_below
from vkd.errors import FieldError, UserError
from vkd.tasks import task_of
from vkd.training.spec import resolve
from vkd.training.task import Exported


class Found(NamedTuple):
    """Some ``pictures``, and the ``place`` that they are of."""

    pictures: Iterator[Image.Image]
    place: str


class PictureSource:
    """Pictures of a folder, or of a recipe's data.

    Args:
        config: the recipe.
        exported: the network that they are for.

    Attributes:
        absent: why there were none, a part of a sentence.
    """

    def __init__(self, config: TrainingConfig, exported: Exported) -> None:
        self._config, self._exported = config, exported
        self._samples: OpenSamples | None = None
        self.absent = ""

    def of(self, split: str, count: int, folder: str, field: str) -> Found | None:
        """Return at most ``count`` pictures below ``folder``; of the split where it is empty.

        None, with a reason in ``absent``, where the data are not at hand.

        Raises:
            FieldError: about ``field``, if the network takes no pictures or the folder has none.
        """
        if folder and input_format(self._exported) is None:
            raise FieldError(field, f"has no meaning for a {self._config.task} network.")
        if folder:
            return Found(pictures_below(folder, count, field), folder)
        if self._samples is None and not self._open():
            return None
        assert self._samples is not None
        found = self._samples(split, count)
        return Found(found.pictures, f"the {found.split} split")

    def calibrating(self, count: int, folder: str) -> Found:
        """Return at most ``count`` pictures to calibrate with, as ``of`` the split train does.

        Raises:
            FieldError: about ``calibration``, if there are none.
        """
        found = self.of("train", count, folder, "calibration")
        if found is None:
            raise FieldError("calibration", f"is needed, a folder of pictures, as {self.absent}.")
        return found

    def _open(self) -> bool:
        spec = task_of(self._config)
        if input_format(self._exported) is None:
            self.absent = "the network takes no pictures"
        elif spec.pictures is None:
            self.absent = f"the task {spec.name} opens no pictures of its data"
        elif "data" in self._config.objects:
            self.absent = "its data were a Python object"
        else:
            try:
                self._samples = resolve(spec.pictures)(self._config)
            except UserError as error:
                self.absent = f"its data are not at hand: {str(error).rstrip('.')}"
        return self._samples is not None
