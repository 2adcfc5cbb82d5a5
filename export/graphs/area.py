"""Pictures of any size fitted into a square inside a graph: every result pixel is the mean of the area it covers.

Two products with matrices that the graph makes from the shape of its input: plain operators that every runtime knows,
exact for any factor. A GPU does them in no time; a processor takes longer for them than for a small network.
"""

import numpy as np
import onnx

from export.graphs.editor import GraphEditor


class Letterbox:
    """Scales by side / longest edge into the top left corner; what is not covered has the value of the border."""

    def __init__(self, editor: GraphEditor, picture: str, side: int) -> None:
        """Take the size from `picture`, float32 [N,H,W]."""
        self._editor = editor
        self._side = side
        shape = editor.add("Cast", [editor.add("Shape", [picture])], to=onnx.TensorProto.FLOAT)
        edges = [_at(editor, shape, axis) for axis in (1, 2)]
        longest = editor.add("Max", edges)
        self.scale = editor.add("Div", [_number(editor, side), longest])
        """float32 [1]: pixels of the square per pixel of the picture."""

    def fit(self, planes: str, border: str, *, axes: tuple[int, int], cells: int) -> str:
        """Float32 [...,H,W] to [...,cells,cells]; a plane of half the resolution fits into half as many cells.

        Args:
            planes: height and width are its last two axes.
            border: broadcasts to the result.
            axes: which those are.
            cells: along both edges of the result.
        """
        editor = self._editor
        down, across = (self._overlaps(planes, axis, cells) for axis in axes)
        turned = editor.add("Transpose", [across], perm=[1, 0])
        scaled = editor.add("MatMul", [down, editor.add("MatMul", [planes, turned])])
        covered = editor.add(
            "MatMul",
            [
                editor.reduce("ReduceSum", down, axis=1),
                editor.reduce("ReduceSum", turned, axis=0),
            ],
        )
        beyond = editor.add("Sub", [_number(editor, 1), covered])
        return editor.add("Add", [scaled, editor.add("Mul", [beyond, border])])

    def _overlaps(self, planes: str, axis: int, cells: int) -> str:
        """Share of each cell that each source pixel covers: float32 [cells, pixels]; rows sum to 1 inside."""
        editor = self._editor
        shape = editor.add("Shape", [planes])
        count = editor.add("Gather", [shape, editor.constant(np.array(axis, np.int64))], axis=0)
        ends = [editor.constant(np.array(value, np.int64)) for value in (0, 1)]
        numbers = editor.add("Range", [ends[0], count, ends[1]])
        low = editor.add("Cast", [numbers], to=onnx.TensorProto.FLOAT)
        high = editor.add("Add", [low, _number(editor, 1)])
        cell = np.arange(cells, dtype=np.float32).reshape(-1, 1)
        begins = editor.add("Div", [editor.constant(cell), self.scale])
        ends_at = editor.add("Div", [editor.constant(cell + 1), self.scale])
        shared = editor.add(
            "Sub", [editor.add("Min", [ends_at, high]), editor.add("Max", [begins, low])]
        )
        return editor.add("Mul", [editor.add("Relu", [shared]), self.scale])


def _at(editor: GraphEditor, shape: str, axis: int) -> str:
    return editor.add("Gather", [shape, editor.constant(np.array([axis], np.int64))], axis=0)


def _number(editor: GraphEditor, value: float) -> str:
    return editor.constant(np.array([value], np.float32))
