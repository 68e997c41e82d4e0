"""Back ends that run an exported network: ONNX Runtime, LiteRT, torch, TensorRT."""
