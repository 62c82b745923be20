"""Forecasts by a network that is fed its own output: a step at a time, for many series and sample paths at once.

::

    table or arrays --series--> contexts, scaled --rollout--> Forecast, or a table like the one that was given
                                                   |   ^
                              parameters of a distribution, a draw from it, the next step's input

A `Scheme` says what the columns of the network's input are and what its output holds. It is kept in the model's file.
"""

from .distributions import DISTRIBUTIONS
from .result import Forecast
from .scheme import CALENDAR, SCALE_INPUTS, SCALINGS, TRANSFORMS, Scheme

__all__ = ["CALENDAR", "DISTRIBUTIONS", "SCALE_INPUTS", "SCALINGS", "TRANSFORMS", "Forecast", "Scheme"]


def __dir__() -> list[str]:
    return __all__
