"""What variables share they share in another Python too: objects, memory, and what looks at it."""

import numpy as np
import pytest
import torch

from aiinfra_lab.kernels.values import arrays, pack, unpack

from .test_values import refuse_pickles, there_and_back
from .value_kinds import CELL


def test_what_variables_share_they_share_over_there() -> None:
    shared, array, tensor = [1], np.zeros(3), torch.zeros(2)
    point = CELL["Point"](shared, array)
    given = {"point": point, "again": [point, shared], "shared": shared, "array": array, "tensors": [tensor, tensor]}
    code = "shared.append(2); array[0] = 5; tensors[0][0] = 7; point.z = 1"
    back = there_and_back(given, code)
    assert back["point"].x is back["shared"]
    assert back["again"][0] is back["point"]
    assert back["again"][1] == [1, 2]
    assert back["point"].y is back["array"]
    assert back["array"].tolist() == [5, 0, 0]
    assert back["tensors"][1].tolist() == [7, 0]


def test_what_stands_behind_the_object_that_holds_it_is_the_same_one_over_there() -> None:
    class Tree:
        def __init__(self, parent):
            self.parent, self.children, self.by_name, self.content = parent, [], {}, bytearray(3)

    top = Tree(None)
    leaf = Tree(top)
    top.children.append(leaf)
    box = [leaf, top, top.children, {"names": leaf.by_name, "content": leaf.content}]
    back = there_and_back({"box": box, "again": leaf.by_name}, "box[0].by_name['new'] = 1")
    got, above, children, more = back["box"]
    assert (got.parent is above, above.children is children, children[0] is got) == (True, True, True)
    assert more == {"names": {"new": 1}, "content": bytearray(3)}
    assert (more["names"] is got.by_name, more["content"] is got.content, back["again"] is got.by_name) == (True,) * 3


def test_views_of_the_same_memory_are_views_of_the_same_memory_over_there() -> None:
    array, tensor = np.zeros(4), torch.zeros(2, 3)
    box = CELL["Point"](array[::-1], [torch.from_numpy(array)[1:], tensor.T])
    given = {"array": array, "bits": array[2:].view("u1"), "box": box, "tensor": tensor, "row": tensor[1]}
    packed = pack(given)
    assert packed.size < 4000
    back = there_and_back(given, "array[2] = 1; row[0] = 5; array[1] = 7")
    assert back["array"].tolist() == [0, 7, 1, 0]
    back["array"][3] = 2
    assert back["box"].x.tolist() == [2, 1, 7, 0]
    assert back["box"].y[0].tolist() == [7, 1, 2]
    assert back["bits"].view("f8").tolist() == [1, 2]
    assert back["tensor"].tolist() == [[0, 0, 0], [5, 0, 0]]
    back["box"].y[1][2, 0] = 3
    assert back["tensor"].tolist() == [[0, 0, 3], [5, 0, 0]]
    assert back["row"].untyped_storage().data_ptr() == back["tensor"].untyped_storage().data_ptr()


def test_a_small_view_does_not_take_all_of_a_large_array_along() -> None:
    large = np.zeros((1000, 1000))
    packed = pack({"row": large[5], "column": large[:, 5], "columns": large[:, 5:7]})
    assert packed.size < 40_000
    assert packed.changes == ["it shares no memory with its views"]
    assert pack({"row": large[5], "other": large[6]}).changes == []


def test_an_empty_view_parts_no_others() -> None:
    array = np.arange(10)
    packed = pack({"array": array, "none": array[3:3], "end": array[5:]})
    back = unpack(bytearray(bytes(packed)))
    assert (np.shares_memory(back["array"], back["end"]), packed.changes) == (True, [])


@pytest.mark.parametrize(
    "shared",
    [
        lambda: (array := np.arange(9.0), np.ma.array(array, copy=False)),
        lambda: (array := np.zeros(3, dtype=[("x", "f8")]), array.view(np.recarray)),
        lambda: (memory := bytearray(99), np.frombuffer(memory, np.uint8)),
        lambda: (memory := bytearray(99), [np.frombuffer(memory, np.uint8)[9:12]]),
    ],
)
def test_memory_that_is_not_shared_over_there_is_named(shared) -> None:
    one, other = shared()
    assert pack({"one": one, "other": other}).changes == ["it shares no memory with its views"]
    assert pack({"one": one, "again": one, "both": [one, {"one": one}]}).changes == []
    assert pack({"one": other, "again": [other]}).changes == []


def test_a_network_keeps_its_gradients_and_shares_with_its_state() -> None:
    net = torch.nn.Linear(2, 2)
    net(torch.ones(2)).sum().backward()
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
    back = there_and_back({"state": net.state_dict(), "net": net, "optimizer": optimizer}, "optimizer.step()")
    assert torch.equal(back["net"].weight, net.weight - 1)
    assert torch.equal(back["net"].weight.grad, net.weight.grad)
    assert torch.equal(back["state"]["weight"], back["net"].weight)
    with torch.no_grad():
        back["net"].weight.fill_(5)
    assert back["state"]["weight"].tolist() == [[5, 5]] * 2


def test_tensors_of_an_accelerator_go_to_it_again_where_that_is_asked_for(monkeypatch) -> None:
    """The device without memory, which torch has everywhere, stands for an accelerator."""
    monkeypatch.setattr(arrays, "_device", lambda tensor: "meta")
    monkeypatch.setattr(arrays, "has_device", lambda device: device == "meta")
    network = torch.nn.Linear(3, 2)
    packed = bytes(pack({"network": network, "row": network.weight[1].detach(), "none": torch.empty(0)}))
    here = unpack(bytearray(packed), pickles=True)
    assert {here["network"].weight.device.type, here["row"].device.type} == {"cpu"}
    there = unpack(bytearray(packed), pickles=True, to_devices=True)
    assert [each.device.type for each in (there["network"].weight, there["row"], there["none"])] == ["meta"] * 3
    assert there["row"].untyped_storage()._cdata == there["network"].weight.untyped_storage()._cdata
    assert (there["row"].storage_offset(), there["row"].shape) == (3, (3,))


def test_strides_and_what_may_be_written_stay() -> None:
    image = torch.zeros(2, 3, 4, 4).to(memory_format=torch.channels_last)
    fixed = np.arange(3)
    fixed.flags.writeable = False
    given = {"image": image, "wide": torch.ones(3, 1).expand(3, 1000), "fixed": fixed, "moved": np.zeros((2, 3, 4)).T}
    packed = pack(given)
    assert packed.size < 3000
    back = refuse_pickles(given)
    assert (back["image"].stride(), back["wide"].stride()) == (image.stride(), (1, 0))
    assert (back["fixed"].flags.writeable, back["moved"].strides) == (False, given["moved"].strides)


def test_an_optimizer_stays_tied_to_its_network() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    net[1].weight = net[0].weight
    code = "net(__import__('torch').ones(1, 2)).sum().backward(); optimizer.step()"
    back = there_and_back({"optimizer": torch.optim.SGD(net.parameters(), lr=1.0), "net": net}, code)
    assert back["net"][0].weight is back["net"][1].weight
    assert back["optimizer"].param_groups[0]["params"][0] is back["net"][0].weight
    assert not torch.equal(back["net"][0].weight, net[0].weight)


def test_a_container_may_hold_itself() -> None:
    ring: list = [1]
    ring.append({"ring": ring})
    back = refuse_pickles({"ring": ring})["ring"]
    assert back[1]["ring"] is back


def test_a_tuple_that_is_in_many_places_is_sent_once() -> None:
    nested, rows = (1.5, frozenset({2})), tuple(range(1000))
    for _ in range(60):
        nested = (nested, nested)
    packed = pack({"nested": nested, "rows": [rows] * 50})
    assert packed.size < 12_000
    back = refuse_pickles({"nested": nested, "rows": [rows] * 50})
    assert back["rows"] == [rows] * 50
    first = back["nested"]
    for _ in range(60):
        assert type(first) is tuple
        first = first[0]
    assert first == (1.5, frozenset({2}))


def test_a_tuple_may_hold_a_list_that_holds_it() -> None:
    within: tuple = ([], 1)
    within[0].append((within, within))
    back = refuse_pickles({"within": within})["within"]
    assert back[0][0][0][0] is back[0]
