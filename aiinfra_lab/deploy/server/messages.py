"""What an endpoint's process and those of its models say to each other, as MessagePack."""

from __future__ import annotations

from typing import Literal

import msgspec

FormName = Literal["json", "tensors", "arrow"]
# How many bytes of JSON say what one byte of another form may.
_DENSE = 16


class Form(msgspec.Struct, array_like=True, frozen=True):
    """How a body is written: rows or columns as JSON, tensors of the Open Inference Protocol, or an Arrow stream.

    answer: how what it is answered is written. json_bytes: how much of the body is JSON, where bytes of tensors follow.
    """

    name: FormName = "json"
    answer: FormName = "json"
    json_bytes: int | None = None


class RawRequest(msgspec.Struct, array_like=True):
    """One request, as its body came. started: when it did, on the clock that all processes of a machine share."""

    id: str
    started: float
    body: bytes
    form: Form | None = None  # JSON, answered so: most are, and nothing need be carried for them

    @property
    def body_form(self) -> FormName:
        return self.form.name if self.form else "json"

    @property
    def json_bytes(self) -> int | None:
        return self.form.json_bytes if self.form else None

    @property
    def answer_form(self) -> FormName:
        return self.form.answer if self.form else "json"

    @property
    def expected_bytes(self) -> int:
        """How long a body of JSON may be that says as much: by that a model's time is measured."""
        if self.form is None:
            return len(self.body)
        json = {"json": len(self.body), "tensors": self.json_bytes or len(self.body), "arrow": 0}[self.body_form]
        return json + (len(self.body) - json) * _DENSE


class Reply(msgspec.Struct, array_like=True):
    """What a request is answered.

    failed: whether a row of it got no outputs. A request that is refused has no rows. logged_request, logged_answer:
    what the log gets in place of the request's body and of this one, where long texts are in them, or they are no JSON.
    form: how the body is written, where it is not JSON alone.
    """

    status: int
    body: bytes
    rows: int = 0
    failed: bool = False
    logged_request: bytes = b""
    logged_answer: bytes = b""
    form: Form | None = None


class Began(msgspec.Struct, tag=True):
    """The process is there, and loads its model."""

    pid: int


class Ready(msgspec.Struct, tag=True):
    """The model is loaded and warm. A request of so many bytes takes fixed_s + byte_s each; from its first byte to its
    answer, as measured. runtime: the version of ONNX Runtime that answers.
    """

    fixed_s: float
    byte_s: float
    runtime: str = ""


class CannotServe(msgspec.Struct, tag=True):
    """The model cannot be served, and the process ends."""

    kind: str
    what: str
    fix: str


class Replies(msgspec.Struct, tag=True):
    """The answers to a batch, in its order."""

    replies: list[Reply]


class Open(msgspec.Struct):
    """An order to the fork server: a process for that version, which gets the socket that comes along.

    digests: file → what it has to be; of none nothing is known.
    """

    uri: str
    folder: str
    digests: dict[str, str]
    memory_bytes: int


class Ended(msgspec.Struct):
    """A process has ended: by that signal, or else with that exit code."""

    pid: int
    code: int
    signal: int


FromWorker = Began | Ready | CannotServe | Replies
