"""What a run needs of its data, whatever the data is of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import lightning as L


class RunData(L.LightningDataModule, ABC):
    """Data with a name and a hash of its content, so that a run can be recorded, resumed and compared.

    Attributes:
        name: what the data is called in records and tables.
        given_to_the_model: properties that the command line gives to arguments of the model of the same name.
    """

    name: str
    given_to_the_model: tuple[str, ...] = ()

    def setup(self, stage: str | None = None) -> None:
        """Prepare what is not prepared when the data is built."""

    @property
    @abstractmethod
    def data_hash(self) -> str:
        """A hash of all that a result depends on, after ``setup``."""

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What ``run.json`` says of the data beside its name and hash, such as counts; after ``setup``."""

    def write_split(self, file: Path) -> None:
        """Write which examples are trained on and scored, where they have names."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of the data."""
        return {"name": self.name, "data_hash": self.data_hash}
