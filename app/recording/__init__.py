"""Recordings: MCAP files of what flowed on the bus, for replay here and for Foxglove."""
