"""Teachers: their outputs by layer, networks of any inputs, and outputs kept in memory."""

import gc
import weakref

import pytest
import torch
from torch import nn

from vkd.inputs import InputAdapter, InputFormat
from vkd.teacher import MemoryTeacher, NetworkTeacher, StoredTeacher, TeacherOutput, joined


def network():
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.Tanh(), nn.Linear(5, 7))


def images(count=3):
    return torch.randn(count, 3, 2, 2)


class TextModel(nn.Module):
    """Returns a dict, as models of text do."""

    def __init__(self, dim=4, classes=0):
        super().__init__()
        self.table = nn.Embedding(9, dim)
        self.head = nn.Linear(dim, classes) if classes else None

    def forward(self, input_ids, attention_mask):
        hidden = self.table(input_ids) * attention_mask[..., None]
        found = {"last_hidden_state": hidden, "pooler_output": hidden[:, 0]}
        return found if self.head is None else found | {"logits": self.head(hidden.mean(1))}


def text():
    ids = torch.tensor([[1, 2, 3], [4, 5, 0]])
    return {"input_ids": ids, "attention_mask": (ids > 0).float()}


def test_the_only_layer_is_found_and_several_are_named():
    a, b = torch.zeros(2, 3), torch.ones(2, 4)
    assert TeacherOutput({"a": a}).only is a
    with pytest.raises(ValueError, match="has 2 layers, expected one: 'a', 'b'"):
        _ = TeacherOutput({"a": a, "b": b}).only
    with pytest.raises(ValueError, match="has 0 layers, expected one: none"):
        _ = TeacherOutput({}).only


def test_outputs_of_batches_join():
    parts = [TeacherOutput({"a": torch.randn(n, 3)}, torch.randn(n, 2)) for n in (1, 4, 2)]
    whole = joined(iter(parts))
    assert torch.equal(whole.only, torch.cat([part.only for part in parts]))
    assert torch.equal(whole.logits, torch.cat([part.logits for part in parts]))
    assert joined([TeacherOutput({"a": torch.zeros(2, 3)})] * 2).logits is None


def test_a_network_has_features_of_several_layers():
    model, batch = network(), images()
    found = NetworkTeacher(model, ["1", "2", ""])(batch)
    assert list(found.features) == ["1", "2", ""]
    torch.testing.assert_close(found.features["1"], model[:2](batch))
    torch.testing.assert_close(found.features["2"], model[:3](batch))
    torch.testing.assert_close(found.features[""], model(batch))
    torch.testing.assert_close(found.logits, model(batch))
    assert not any(part.requires_grad for part in (*found.features.values(), found.logits))
    torch.testing.assert_close(NetworkTeacher(model, "1")(batch).only, model[:2](batch))


def test_a_network_of_text_takes_keywords_and_positions():
    model, batch = TextModel(classes=3), text()
    teacher = NetworkTeacher(model, ["", ":pooler_output", "table"])
    expected = model(**batch)
    for inputs in (batch, (batch["input_ids"], batch["attention_mask"])):
        found = teacher(inputs)
        torch.testing.assert_close(found.features[""], expected["last_hidden_state"].mean(1))
        torch.testing.assert_close(found.features[":pooler_output"], expected["pooler_output"])
        torch.testing.assert_close(found.logits, expected["logits"])
    assert NetworkTeacher(TextModel(), "table")(batch).logits is None


def test_an_adapter_takes_images_only():
    half = InputFormat((0.5,) * 3, (0.5,) * 3)
    teacher = NetworkTeacher(TextModel(), "table", adapter=InputAdapter(half, half))
    with pytest.raises(ValueError, match="adapter takes one tensor of images, found dict"):
        teacher(text())


def test_a_wrong_layer_leaves_no_taps_and_freezes_nothing():
    model = network()
    for layers, message in ((["1", "9"], "no layer '9'"), ([], "at least one layer")):
        with pytest.raises(ValueError, match=message):
            NetworkTeacher(model, layers)
    assert not any(module._forward_hooks for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert model.training


def test_a_closed_network_has_no_taps_and_refuses():
    model = network()
    teacher = NetworkTeacher(model, ["1", "2"])
    teacher.close()
    assert not any(module._forward_hooks for module in model.modules())
    with pytest.raises(RuntimeError, match="closed"):
        teacher(images())


def test_memory_without_indices_is_refused():
    teacher = MemoryTeacher(NetworkTeacher(network(), "1"), images(5))
    with pytest.raises(ValueError, match=r"needs indices.*found None"):
        teacher(images())
    with pytest.raises(ValueError, match=r"shape \(3,\).*found \(2,\)"):
        teacher(images(), torch.tensor([0, 1]))


def test_memory_lets_go_of_network_and_images():
    model, data = network(), images(5)
    indices = torch.tensor([4, 0, 4])
    expected = NetworkTeacher(network_copy(model), ["1", "2"])(data[indices])
    teacher = MemoryTeacher(NetworkTeacher(model, ["1", "2"]), data, batch_size=2)
    assert isinstance(teacher, StoredTeacher)
    assert (teacher.widths, teacher.num_classes) == ({"1": 5, "2": 5}, 7)
    torch.testing.assert_close(teacher(data[indices], indices), expected)
    watched = weakref.ref(model)
    # Not the storage but the object; ``data`` itself is the only other reference to it.
    held = weakref.ref(data)
    del model, data
    gc.collect()
    assert watched() is None
    assert held() is None
    torch.testing.assert_close(teacher(images(), indices), expected)
    teacher.close()
    torch.testing.assert_close(teacher(images(), indices), expected)


def network_copy(model):
    twin = network()
    twin.load_state_dict(model.state_dict())
    return twin


def test_memory_that_is_closed_early_closes_its_network():
    model = network()
    teacher = MemoryTeacher(NetworkTeacher(model, "1"), images(5))
    teacher.close()
    assert not any(module._forward_hooks for module in model.modules())
    with pytest.raises(RuntimeError, match="closed before it ran"):
        teacher(images(), torch.arange(3))


def test_a_network_or_a_function_is_not_stored():
    assert not isinstance(NetworkTeacher(network(), "1"), StoredTeacher)
    assert not isinstance(lambda images, indices=None: None, StoredTeacher)
