"""The MDX-Net engine: runs every MDX-Net ONNX model, on the native kernels or on ONNX Runtime."""
