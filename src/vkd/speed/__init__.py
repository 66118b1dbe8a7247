"""How fast networks run on this machine: in PyTorch and ONNX Runtime, in turns."""
