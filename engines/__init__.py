"""The networks, the back ends that run them and the stages on top: arrays in, arrays out."""
