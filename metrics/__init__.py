"""The measures of the table: in each file pure functions, and a ``torchmetrics.Metric`` that accumulates for them.

Functions return Python floats; ``Metric.compute`` returns 0-d float32 tensors, because Lightning logs nothing else.
"""
