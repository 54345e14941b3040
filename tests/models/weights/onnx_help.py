"""ONNX files written again with changes, or folded as PyTorch's export folds them."""

import onnx
from onnx import TensorProto, helper, numpy_helper

from facemae_jax.models.onnx_read import fold_norms, plain_graph


def rewritten(source, path, change=lambda nodes, arrays: None, fold=False):
    """The graph of a file after ``change(nodes, arrays)``; folded as PyTorch's export does it, under other names."""
    graph = plain_graph(source)
    graph = fold_norms(graph) if fold else graph
    nodes = [helper.make_node(n.kind, list(n.inputs), [n.output], **n.attributes) for n in graph.nodes]
    arrays = {**graph.weights, **graph.constants}
    change(nodes, arrays)
    if fold:
        names = {graph.image: "input.1"}
        for n in nodes:
            n.output[0] = names.setdefault(n.output[0], str(400 + len(names)))
            n.input[:] = [names.get(name, name) for name in n.input]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "test",
            [helper.make_tensor_value_info(nodes[0].input[0], TensorProto.FLOAT, ["N", 3, 32, 32])],
            [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, ["N", None])],
            [numpy_helper.from_array(value, name) for name, value in arrays.items()],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    onnx.save(model, path)
    return path
