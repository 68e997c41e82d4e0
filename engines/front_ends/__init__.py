"""2D front ends: pictures in, H36M-17 joints (and image context) out."""
