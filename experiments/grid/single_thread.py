"""Preloaded first: torchmetrics without onnxruntime, whose import starts a thread in what cells are forked from.

torchmetrics imports onnxruntime, where it is installed, for a metric of speech that nothing here uses.
"""

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

if "onnxruntime" not in sys.modules:
    stand_in = ModuleType("onnxruntime")
    stand_in.__spec__ = ModuleSpec("onnxruntime", None)
    stand_in.__dict__["InferenceSession"] = object
    sys.modules["onnxruntime"] = stand_in
    import torchmetrics  # noqa: F401 - here, for its own sake

    del sys.modules["onnxruntime"]  # who needs it imports the real one
