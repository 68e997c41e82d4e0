"""The live viewer, the off-screen renderer and 2D overlays."""
