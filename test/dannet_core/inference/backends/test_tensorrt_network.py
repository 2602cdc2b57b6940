"""An engine as a network, on a TensorRT of Python objects that notes who goes when."""

import gc
import weakref
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from dannet_core.errors import EngineError
from dannet_core.inference.backends.tensorrt_network import TensorRTNetwork
from dannet_core.inference.engine_file import Binding, EngineInfo
from dannet_core.inference.tensorrt_flavour import Flavour
from dannet_core.metadata import ModelMetadata

IMAGE, LOGITS = Binding((1, 3, 64, 96), "float32"), Binding((1, 19, 8, 12), "float16")
ADDRESSES = {"image": 4096, "stride_logits": 8192}
STREAM = SimpleNamespace(handle=7)


class Logger:
    class Severity:
        ERROR = 1


class Context:
    def __init__(self, engine, library):
        self.engine, self.library, self.addresses, self.runs = engine, library, {}, []

    def set_tensor_address(self, name, address):
        self.addresses[name] = address
        return name != self.library.refused

    def execute_async_v3(self, stream):
        self.runs.append((stream, dict(self.addresses)))
        return True

    def is_stream_capturable(self, stream):
        assert stream == STREAM.handle
        return self.library.capturable


class Engine:
    def __init__(self, runtime, library):
        self.runtime, self.library = runtime, library

    def create_execution_context(self):
        if not self.library.room:
            return None
        self.library.context = Context(self, self.library)
        return self.library.noted("context", self.library.context)


class Library:
    """A module as `import tensorrt` gives it, and what became of its objects."""

    ILogger = Logger

    def __init__(self):
        self.room, self.capturable, self.refused, self.gone = True, True, "", []
        self.context = None

    def noted(self, name, made):
        weakref.finalize(made, self.gone.append, name)
        return made

    def Runtime(self, _logger):  # noqa: N802  TensorRT's name
        library = self

        class Runtime:
            def deserialize_cuda_engine(self, plan):
                return library.noted("engine", Engine(self, library)) if plan == b"plan" else None

        return self.noted("runtime", Runtime())


@pytest.fixture
def library():
    return Library()


@pytest.fixture
def make(library):
    info = EngineInfo(
        flavour="tensorrt",
        flavour_version="10.3.0",
        gpu="Orin",
        compute_capability="8.7",
        targets=(),
        workspace_mib=0,
        precision="fp16",
        onnx_sha256="0" * 64,
        plan_sha256="0" * 64,
        plan_bytes=4,
        inputs={"image": IMAGE},
        outputs={"stride_logits": LOGITS},
        metadata=ModelMetadata("lraspp", "mobilenet_v3_large", relighting_width=0),
    )
    return lambda plan=b"plan": TensorRTNetwork(Flavour("tensorrt", "10.3.0", library), info, plan, Path("m.engine"))


def test_an_engine_runs_on_the_buffers_it_is_given(library, make):
    network = make()
    assert network.dtypes["stride_logits"] == np.float16
    network.enqueue(ADDRESSES, STREAM)
    assert library.context.runs == [(7, ADDRESSES)]


@pytest.mark.parametrize("name", ["image", "stride_logits"])
def test_a_buffer_that_tensorrt_refuses_is_named_and_nothing_runs(library, make, name):
    network, library.refused = make(), name
    with pytest.raises(EngineError, match=f"m.engine: giving it the buffer of '{name}': TensorRT gave no reason"):
        network.enqueue(ADDRESSES, STREAM)
    assert library.context.runs == []


def test_tensorrt_is_asked_whether_a_graph_can_be_recorded(library, make):
    network = make()
    assert network.capture_refused(STREAM) == ""
    library.capturable = False
    assert network.capture_refused(STREAM).startswith("graph: TensorRT cannot record this engine")
    # TensorRT 10 cannot be asked.
    network._context = SimpleNamespace()
    assert network.capture_refused(STREAM) == ""


def test_what_was_made_of_something_goes_before_it(library, make):
    network = make()
    library.context = None
    network.close()
    gc.collect()
    assert library.gone == ["context", "engine", "runtime"]
    network.close()


def test_an_engine_without_room_leaves_nothing_behind_while_the_error_is_still_held(library, make):
    library.room = False
    with pytest.raises(EngineError, match=r"m\.engine: making room to run the engine") as held:
        make()
    assert held.traceback
    assert library.gone == ["engine", "runtime"]


def test_a_plan_that_cannot_be_read_leaves_nothing_behind(library, make):
    with pytest.raises(EngineError, match=r"m\.engine: reading the engine"):
        make(b"other")
    assert library.gone == ["runtime"]
