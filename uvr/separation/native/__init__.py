"""MDX-Net networks on processor cores by kernels of our own: twice as fast as ONNX Runtime, in a quarter of its memory.

docs/decisions/0010-own-kernels.md says why they exist. Where they cannot be built or do not know a model, ONNX Runtime
runs it (`uvr.separation.mdx.backends`).
"""
