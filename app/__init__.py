"""The live application: configuration, messages, bus, synchronizer, pipeline, supervisor."""
