"""Runs a model in ai-edge-litert: one batch of invocations a line read, the times in nanoseconds as one line back."""
import sys
import time

import numpy
from ai_edge_litert.interpreter import Interpreter

model, rounds = sys.argv[1], int(sys.argv[2])
interpreter = Interpreter(model, num_threads=1)
interpreter.allocate_tensors()
tensor_in, tensor_out = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
index = numpy.arange(numpy.prod(tensor_in["shape"]), dtype=numpy.uint64)
pattern = (((index * numpy.uint64(2654435761)) >> numpy.uint64(24)) & numpy.uint64(255)).astype(numpy.uint8)
picture = (pattern ^ numpy.uint8(128)).view(numpy.int8).reshape(tensor_in["shape"])
for _ in sys.stdin:
    times = []
    for _ in range(rounds):
        begun = time.perf_counter_ns()
        interpreter.set_tensor(tensor_in["index"], picture)
        interpreter.invoke()
        interpreter.get_tensor(tensor_out["index"])
        times.append(time.perf_counter_ns() - begun)
    print(*times, flush=True)
