"""The version of this software, as it is written into recordings."""

VERSION = "0.1.0"
