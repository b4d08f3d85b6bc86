"""What groups of parameters share: strictness, and how text is generated."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Temperature = Annotated[float, Field(ge=0, le=5, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1)]
Penalty = Annotated[float, Field(gt=0, le=10)]

SECRET: Final = "secret"
"""Type of a validation error whose input is not repeated: it may be a key."""


class Section(BaseModel):
    """One group of parameters; unknown names, wrong types and later changes are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)


class Generating(Section):
    """How text is generated."""

    temperature: Temperature = 0.1
    """Randomness; 0 takes the likeliest token."""
    top_p: Share = 0.001
    """Share of the probability that tokens are drawn from; this small a one leaves the likeliest."""
    repetition_penalty: Penalty = 1.05
    """Above 1 makes words that were already said less likely."""
    max_output_tokens: Annotated[int, Field(ge=1)] = 512
    """Longest text, in tokens; one that is cut has finish_reason `length`."""


class Escalation(Section):
    """One more try at captions that were cut off or go round in circles; what is not given stays as it was."""

    on: Annotated[tuple[Literal["length", "repetition"], ...], Field(min_length=1, strict=False)]
    """Which captions: `length`, cut off at max_output_tokens; `repetition`, the same words over and over."""
    temperature: Temperature | None = None
    """As in captioning."""
    top_p: Share | None = None
    """As in captioning."""
    repetition_penalty: Penalty | None = None
    """As in captioning."""
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    """As in captioning."""
