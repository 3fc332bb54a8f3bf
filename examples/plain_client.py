"""Track candidates from a server, by tritonclient alone: what any framework would do.

`python plain_client.py HOST:PORT POINTS.npy [IDENTITY]`; the file has x, y, z of each space point
(mm, float32[n, 3]). docs/frameworks.md explains the tensors.
"""

import sys

import numpy as np
import tritonclient.grpc as triton

address, path, *identity = sys.argv[1:]
points = np.load(path)
client = triton.InferenceServerClient(address)
inputs = []
for name, array in {"points": points, "event": np.zeros(1, np.int64)}.items():
    kind = {"float32": "FP32", "int64": "INT64"}[array.dtype.name]
    inputs.append(triton.InferInput(name, array.shape, kind))
    inputs[-1].set_data_from_numpy(array)
wanted = ("candidates_points", "candidates_points_offsets", "candidates_score", "identity")
answer = client.infer(
    "exatrkx",
    inputs,
    outputs=[triton.InferRequestedOutput(name) for name in wanted],
    parameters={"identity": identity[0]} if identity else None,  # another model is an error then
)
rows, offsets, scores, text = (answer.as_numpy(name) for name in wanted)
print("by", bytes(text).decode())
for first, last, score in zip(offsets[:-1], offsets[1:], scores, strict=True):
    print(f"{score:.3f}", *rows[first:last])
