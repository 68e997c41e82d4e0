"""Recordings in the formats of the tools that people use: C3D, TRC, BVH, CSV."""
