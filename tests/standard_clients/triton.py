"""NVIDIA's Triton client, as it is, against a unit: metadata, readiness, and the same class as an upload gets.

argv[1]: the project's directory."""

import io
import os
import pathlib
import sys

import numpy
import requests
from PIL import Image
import tritonclient.http as triton

URL, NAME, PASSWORD = (os.environ[name] for name in ("UNIT_URL", "UNIT_NAME", "UNIT_PASSWORD"))
login = requests.post(URL + "/auth/token", json={"username": NAME, "password": PASSWORD}, timeout=20).json()
HEADERS = {"Authorization": "Bearer " + login["access_token"]}
# The client writes into the headers it is given: each call gets its own.
client = triton.InferenceServerClient(URL.removeprefix("http://"))

assert client.is_server_live(headers=dict(HEADERS)) and client.is_server_ready(headers=dict(HEADERS))
server = client.get_server_metadata(headers=dict(HEADERS))
print("server:", server)
assert server["extensions"] == ["binary_tensor_data"]

name = requests.get(URL + "/api/models/metadata", headers=HEADERS, timeout=20).json()["data"]["name"]
assert client.is_model_ready(name, headers=dict(HEADERS))
model = client.get_model_metadata(name, headers=dict(HEADERS))
version = model["versions"][0]
assert client.is_model_ready(name, version, headers=dict(HEADERS))
print("model:", model["name"], version, [tensor["name"] for tensor in model["inputs"] + model["outputs"]])

inferred = 0
for picture in sorted(pathlib.Path(sys.argv[1]).glob("models/*/*/golden.jpg")):
    content = picture.read_bytes()
    answer = requests.post(URL + "/api/vehicle/classify", headers=HEADERS, files={"file": ("a.jpg", content)}, timeout=20)
    expected = answer.json()["data"]["predictions"]["type"]["value"]
    pixels = numpy.asarray(Image.open(io.BytesIO(content)).convert("RGB"))[None]
    for datatype, tensor in ("UINT8", pixels), ("FP32", pixels.astype(numpy.float32)):
        for binary_in in True, False:
            for binary_out in True, False:
                image = triton.InferInput("image", tensor.shape, datatype)
                image.set_data_from_numpy(tensor, binary_data=binary_in)
                wanted = [triton.InferRequestedOutput(output, binary_data=binary_out) for output in ("type", "type_confidence")]
                result = client.infer(name, [image], outputs=wanted, headers=dict(HEADERS))
                found = result.as_numpy("type")[0]
                found = found.decode() if isinstance(found, bytes) else str(found)
                assert found == expected, (found, expected)
                inferred += 1
                print(f"{picture.parent.parent.name}: {datatype} {'binary' if binary_in else 'JSON'} in, "
                      f"{'binary' if binary_out else 'JSON'} out: {found} {float(result.as_numpy('type_confidence')[0]):.3f}")
    several = triton.InferInput("image", (3, *pixels.shape[1:]), "UINT8")
    several.set_data_from_numpy(numpy.repeat(pixels, 3, axis=0))
    result = client.infer(name, [several], model_version=version, headers=dict(HEADERS), request_id="7")
    assert result.get_response()["id"] == "7" and list(result.as_numpy("type")) == [expected.encode()] * 3
    inferred += 1

try:
    client.infer("no-such-model", [several], headers=dict(HEADERS))
    raise SystemExit("a model that is not there inferred")
except triton.InferenceServerException as error:
    print("refused:", error)
assert inferred, "no golden picture was found"
print(f"{inferred} inferences, each with the class of the upload")
