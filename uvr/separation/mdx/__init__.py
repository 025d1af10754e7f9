"""The MDX-Net engine: every MDX-Net ONNX model, on our own kernels or on ONNX Runtime."""
