"""What all groups of parameters share."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]

SECRET: Final = "secret"
"""Type of a validation error whose input is not repeated: it may be a key."""


class Section(BaseModel):
    """One group of parameters; unknown names, wrong types and later changes are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)
