"""The catalogue agrees with the classes, and methods are built from it by name."""

import re

import pytest
import torch
from torch.nn import functional as F

from vkd.errors import UserError
from vkd.methods.build import build_method, check_signals, method_class
from vkd.methods.catalogue import METHODS, MethodEntry, method_entry, register_method
from vkd.methods.fitnet import FitNet
from vkd.methods.method import Method, Sizes
from vkd.normalization import identity, layer_norm
from vkd.projection import OrthogonalProjection

SIZES = Sizes(student_dim=4, teacher_dim=4, classes=5, samples=20)
FEATURES = {"student_features", "teacher_features"}


class Cosine(Method):
    """A method from outside, of the year 2000."""

    recipe_fields = frozenset({"temperature"})

    def __init__(self, sizes, *, power=2, temperature=1.0):
        super().__init__(sizes)
        self.power, self.temperature = power, temperature

    def forward(self, signals):
        similarity = torch.cosine_similarity(*signals[:2], dim=1)
        return (1 - similarity).pow(self.power).mean()


class Listed(Method):
    """A method that sees no outputs."""

    needs = frozenset({"labels", "indices"})


@pytest.fixture
def methods():
    """Leaves the catalogue as it was."""
    known = dict(METHODS)
    yield
    METHODS.clear()
    METHODS.update(known)


def test_names_stand_in_the_order_of_the_help_and_weigh_as_in_their_papers():
    assert {name: entry.weight for name, entry in METHODS.items()} == {
        "vkd": None, "linear": None, "mlp": None, "identity": None, "kd": None,
        "dkd": 1.0, "dist": 2.0, "rkd": 1.0, "crd": 0.8, "srd": 1.0,
    }  # fmt: skip
    rivals = {name: dict(METHODS[name].fields) for name in METHODS if METHODS[name].fields}
    assert rivals == {
        name: {"projection": name, "normalization": "identity"}
        for name in ("linear", "mlp", "identity")
    }


@pytest.mark.parametrize(
    ("name", "defaults"),
    [
        ("vkd", {}),
        ("kd", {"temperature": 1}),
        ("dkd", {"temperature": 4, "alpha": 1, "beta": 8}),
        ("dist", {"temperature": 1, "beta": 1, "gamma": 1}),
        ("rkd", {"distance_weight": 25, "angle_weight": 50}),
        ("crd", {"negatives": 19, "temperature": 0.07, "momentum": 0.5}),
        ("srd", {"alpha": 4}),
    ],
)
def test_defaults_are_those_of_the_papers(name, defaults):
    method = build_method(name, SIZES, {}, {})
    assert {option: vars(method)[option] for option in defaults} == defaults


def test_vkd_is_orthogonal_with_layer_norm_and_smooth_l1_and_crd_embeds_as_its_release():
    loss = build_method("vkd", SIZES, {}, {}).loss
    assert type(loss.projection) is OrthogonalProjection
    assert (loss.normalization, loss.distance) == (layer_norm, F.smooth_l1_loss)
    regressor = build_method("linear", SIZES, {}, {}).loss
    assert type(regressor.projection) is torch.nn.Linear
    assert (regressor.normalization, regressor.distance) == (identity, F.smooth_l1_loss)
    plenty = Sizes(student_dim=1, teacher_dim=1, samples=20_000)
    crd = build_method("crd", plenty, {}, {})
    assert (crd.negatives, crd.memory.shape[2]) == (16384, 128)


@pytest.mark.parametrize("name", METHODS)
def test_entries_agree_with_their_classes(name, draw_signals):
    entry, cls = method_entry(name), method_class(name)
    assert (entry.compares == "features") == ("student_features" in cls.needs)
    assert (entry.compares == "logits") == ("student_logits" in cls.needs)
    for documented in (cls.__doc__, entry.summary):
        assert re.search(r"\b(19|20)\d\d\b", documented)
    method = build_method(name, SIZES, {}, {})
    loss = method(draw_signals(teacher_dim=4))
    assert loss.shape == ()
    assert loss.dtype == torch.float32


def test_fields_of_the_entry_the_recipe_and_options_go_in_this_order():
    method = build_method("mlp", SIZES, {}, {})
    assert isinstance(method, FitNet)
    assert isinstance(method.loss.projection, torch.nn.Sequential)
    recipe = {"projection": "linear", "temperature": 3.0, "epochs": 2}
    method = build_method("mlp", SIZES, {}, recipe)
    assert isinstance(method.loss.projection, torch.nn.Linear)
    method = build_method("mlp", SIZES, {"projection": "identity"}, recipe)
    assert isinstance(method.loss.projection, torch.nn.Identity)
    assert build_method("kd", SIZES, {}, recipe).temperature == 3
    assert build_method("dkd", SIZES, {}, recipe).temperature == 4


def test_unknown_names_and_options_name_the_nearest():
    with pytest.raises(UserError, match=r"method must be .* found 'dkdd'; did you mean dkd"):
        build_method("dkdd", SIZES, {}, {})
    with pytest.raises(UserError, match=r"no option 'temprature', .*; did you mean temperature"):
        build_method("dkd", SIZES, {"temprature": 2}, {})
    known = "it has temperature, alpha, beta; did you mean temperature"
    with pytest.raises(UserError, match=f"^The method dkd has no option 'temprature', {known}"):
        build_method("dkd", SIZES, {"temprature": 2}, {})
    register_method("bare", MethodEntry(target=Listed, compares="logits"))
    with pytest.raises(UserError, match=r"^The method bare has no option 'beta', it has none"):
        build_method("bare", SIZES, {"beta": 2}, {})
    with pytest.raises(UserError, match="no option 'sizes'"):
        build_method("dkd", SIZES, {"sizes": SIZES}, {})


@pytest.mark.usefixtures("methods")
@pytest.mark.parametrize("target", [Cosine, f"{__name__}:Cosine"])
def test_methods_from_outside_are_built_alike(target, draw_signals):
    register_method("cosine", MethodEntry(target=target, compares="features"))
    method = build_method("cosine", SIZES, {"power": 1}, {"temperature": 2.0, "projection": "mlp"})
    assert (method.power, method.temperature) == (1, 2)
    assert method(draw_signals(teacher_dim=4)).ndim == 0


@pytest.mark.usefixtures("methods")
def test_registering_and_importing_refuse_in_one_sentence():
    for taken in ("kd", "none"):
        with pytest.raises(UserError, match=f"'{taken}' is taken"):
            register_method(taken, METHODS["kd"])
    register_method("absent", MethodEntry(target="no_such_module:X", compares="features"))
    with pytest.raises(UserError, match="absent cannot be imported from no_such_module:X"):
        method_class("absent")
    register_method("odd", MethodEntry(target=dict, compares="features"))
    with pytest.raises(UserError, match="odd must be a subclass"):
        method_class("odd")


@pytest.mark.usefixtures("methods")
def test_a_broken_method_hides_none_that_is_registered_later():
    register_method("absent", MethodEntry(target="no_such_module:X", compares="features"))
    later = MethodEntry(target="vkd.methods.vkd:VkD", compares="features")
    register_method("later", later)
    with pytest.raises(UserError, match=r"use one of vkd, .*, later\."):
        check_signals("kd", set(FEATURES), "detection tokens")


def test_signals_that_a_task_lacks_are_told_with_what_works():
    def check(name, available=FEATURES, many_rows=True):
        check_signals(name, set(available), "detection tokens", many_rows)

    check("vkd")
    check("rkd", many_rows=False)
    check_signals("rkd", FEATURES, "pooled features")
    assert [(entry.summary, dict(entry.fields), entry.weight) for entry in (
        MethodEntry(target=Listed, compares="logits"),)] == [("", {}, None)]  # fmt: skip
    usable = "use one of vkd, linear, mlp, identity, srd."
    with pytest.raises(UserError) as error:
        check("kd")
    assert str(error.value) == (
        f"The method kd compares logits, which detection tokens do not have; {usable}"
    )
    with pytest.raises(UserError, match=f"needs indices, which detection tokens .*; {usable}"):
        check("crd")
    with pytest.raises(UserError, match=f"compares samples with each other, and .*; {usable}"):
        check("rkd")
    register_method("both", MethodEntry(target=Listed, compares="logits"))
    with pytest.raises(UserError, match="method both needs indices and labels, which detection"):
        check("both")
    register_method("broken", MethodEntry(target="no_such_module:X", compares="features"))
    with pytest.raises(UserError, match=f"logits, which .*; {usable}"):
        check("kd")
    with pytest.raises(UserError, match=r"compares features, which .* do not have\."):
        check("vkd", available=())
