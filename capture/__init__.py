"""Camera sources and the process that publishes one of them."""
