"""An endpoint on this machine is asked by the Open Inference Protocol; a claim that it does not keep fails."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import torch
from robustest_http import open_inference_model

from robustest import ClaimFailed, assert_shift_accuracy


class Brightness(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer({"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 64]}]})

    def do_POST(self):
        (sent,) = json.loads(self.rfile.read(int(self.headers["content-length"])))["inputs"]
        bright = torch.tensor(sent["data"]).view(-1, 64).mean(1)
        data = torch.stack([1 - bright, bright], 1)
        self.answer(
            {"outputs": [{"name": "p", "datatype": "FP32", "shape": list(data.shape), "data": data.flatten().tolist()}]}
        )

    def answer(self, content):
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def address():
    server = HTTPServer(("127.0.0.1", 0), Brightness)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_an_endpoint(address):
    x = torch.cat([torch.full((10, 1, 8, 8), 0.2), torch.full((10, 1, 8, 8), 0.8)])
    y = (x.flatten(1).mean(1) > 0.5).long()
    model = open_inference_model(address, "m", output="p", shape=(64,), gives="probabilities", version="1")
    assert_shift_accuracy(model, (x, y), "gaussian_noise", severity=1, at_least=1.0)
    with pytest.raises(ClaimFailed):
        assert_shift_accuracy(model, (x, 1 - y), "gaussian_noise", severity=1, at_least=0.5)
