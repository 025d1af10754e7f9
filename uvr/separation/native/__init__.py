"""C kernels that run MDX-Net networks on processor cores, twice as fast as ONNX Runtime in a quarter of its memory.

docs/decisions/0010-own-kernels.md says why they exist. If they cannot be built or do not support a model, ONNX Runtime
runs it (`uvr.separation.mdx.backends`).
"""
