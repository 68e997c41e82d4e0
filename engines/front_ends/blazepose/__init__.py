"""BlazePose: a light 2D front end for CPUs."""

from engines.front_ends.blazepose.front_end import BlazePoseFrontEnd

__all__ = ["BlazePoseFrontEnd"]
