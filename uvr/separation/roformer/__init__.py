"""BS-RoFormer and Mel-Band RoFormer on the service's own kernels, without torch."""
