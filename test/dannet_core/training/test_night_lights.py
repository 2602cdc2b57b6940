import numpy as np
import pytest

torch = pytest.importorskip("torch")

from dannet_core.classes import CLASS_NAMES, IGNORE_ID  # noqa: E402 - after the skip
from dannet_core.data.loaders import seeded  # noqa: E402
from dannet_core.errors import SettingsError  # noqa: E402
from dannet_core.training.darkening import darken, normalised, shown  # noqa: E402
from dannet_core.training.distributed import Processes  # noqa: E402
from dannet_core.training.domain_step import Part, StepResult  # noqa: E402
from dannet_core.training.feed import open_feed  # noqa: E402
from dannet_core.training.night_lights import PlacedLights  # noqa: E402
from dannet_core.training.run_parts import build_adaptation  # noqa: E402

ID = {name: index for index, name in enumerate(CLASS_NAMES)}
SIZE = (96, 128)
ALONE = Processes(0, 1, torch.device("cpu"))


def street(name, box, within="building"):
    """Labels of a street whose ground begins at row 40, with a box (top, bottom, left, right) of a class."""
    labels = torch.full(SIZE, ID[within])
    labels[40:] = ID["road"]
    top, bottom, left, right = box
    labels[top:bottom, left:right] = ID[name]
    return labels


def flat(value):
    return normalised(torch.full((3, *SIZE), value))


def gained(labels, seed, day=None, seen=None):
    """What lights add to a dark picture, 3 x H x W."""
    dark = flat(0.1)
    day = flat(0.5) if day is None else normalised(day)
    return shown(PlacedLights(CLASS_NAMES).lit(dark, day, labels, seeded(seed), seen)) - 0.1


def test_lights_only_brighten_and_depend_on_their_numbers_alone():
    labels = street("car", (40, 64, 20, 50))
    first, again, other = (gained(labels, seed) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert float(first.min()) > -1e-4
    assert float(first.max()) > 0.3


def test_a_car_shows_two_white_lamps_or_two_red_ones_or_none_where_cars_have_them():
    box = (40, 64, 40, 68)
    labels = street("car", box)
    kinds = {"front": 0, "rear": 0, "dark": 0}
    for seed in range(60):
        light = gained(labels, seed, seen=labels == ID["car"])  # no other thing is shown, so nothing else shines
        strip = light[:, 50:57, 40:68].amax(dim=1)
        red, blue = (strip[channel] for channel in (0, 2))
        if float(red.max()) < 0.05:
            kinds["dark"] += 1
            continue
        kinds["front" if float(blue.max()) > 0.2 else "rear"] += 1
        left, right = int(red[:14].argmax()), 14 + int(red[14:].argmax())
        assert right - left > 10
        assert float(red[13:15].min()) < float(red.max())
    assert all(count >= 8 for count in kinds.values()), kinds


def test_the_road_before_a_lamp_is_lit_and_mirrors_it():
    labels = street("car", (40, 64, 40, 68))
    seen = labels != ID["building"]
    before = [float(gained(labels, seed, seen=seen)[0, 66:80, 40:68].mean()) for seed in range(30)]
    aside = [float(gained(labels, seed, seen=seen)[0, 66:80, 110:].mean()) for seed in range(30)]
    assert np.median(before) > 0.02
    assert np.median(before) > 3 * np.median(aside)


def test_dark_panes_of_a_house_are_lit_each_for_itself_and_walls_are_not():
    labels = torch.full(SIZE, ID["building"])
    day = torch.full((3, *SIZE), 0.6)
    panes = torch.zeros(SIZE, dtype=torch.bool)
    for top in range(8, 80, 16):
        for left in range(8, 120, 16):
            panes[top : top + 6, left : left + 5] = True
    day[:, panes] = 0.15
    shares = []
    for seed in range(10):
        light = gained(labels, seed, day).amax(dim=0)
        assert float(light[~panes].median()) < 0.02
        whole = light[8:88, 8:120].unfold(0, 6, 16).unfold(1, 5, 16)
        lit = whole.amin(dim=(2, 3)) > 0.1
        assert ((whole.amax(dim=(2, 3)) > 0.1) == lit).float().mean() > 0.9  # a pane is lit or dark as a whole
        shares.append(float(lit.float().mean()))
    assert 0.1 < np.mean(shares) < 0.5
    assert min(shares) < max(shares)


def test_the_windows_of_a_bus_share_one_light():
    labels = street("bus", (20, 64, 20, 110))
    day = torch.full((3, *SIZE), 0.5)
    panes = torch.zeros(SIZE, dtype=torch.bool)
    for left in range(24, 106, 14):
        panes[26:40, left : left + 10] = True
    day[:, panes] = 0.15
    lit = 0
    for seed in range(20):
        light = gained(labels, seed, day, labels == ID["bus"])[1, 34:38]
        within = torch.stack([light[:, left + 2 : left + 8].median() for left in range(24, 106, 14)])
        assert float(within.min()) > 0.2 or float(within.max()) < 0.2
        lit += bool(float(within.min()) > 0.2)
    assert 8 < lit < 20


def test_a_signal_has_one_of_its_three_colours():
    labels = street("traffic light", (10, 22, 60, 66))
    seen = labels == ID["traffic light"]
    brightest = {int(gained(labels, seed, seen=seen)[:, 10:22, 60:66].amax(dim=(1, 2)).argmax()) for seed in range(20)}
    assert brightest == {0, 1}  # red and amber, green


def test_where_the_day_is_not_shown_stands_no_light():
    labels = street("car", (40, 64, 20, 50))
    nothing = torch.zeros(SIZE, dtype=torch.bool)
    assert float(gained(labels, 3, seen=nothing).abs().max()) < 1e-4
    unlabelled = torch.full(SIZE, IGNORE_ID)
    assert float(gained(unlabelled, 3).abs().max()) < 1e-4


def test_neither_the_suns_shadow_nor_a_lamp_of_the_night_counts_as_brightness():
    labels = torch.zeros(SIZE, dtype=torch.int64)
    day = torch.full((3, *SIZE), 0.7)
    day[..., 64:] = 0.25
    night = torch.full((3, *SIZE), 0.1)
    with_lamp = night.clone()
    with_lamp[:, :30, :40] = 1.0

    def halves(view, night):
        dark = [shown(view(normalised(day), normalised(night), labels, seeded(seed))) for seed in range(30)]
        means = torch.stack(dark).mean(dim=(0, 1, 2))
        return float(means[:56].mean()), float(means[72:].mean())

    view = PlacedLights(CLASS_NAMES).darkened
    sunny, shady = halves(view, night)
    plain_sunny, plain_shady = halves(darken, night)
    assert sunny / shady < 0.8 * plain_sunny / plain_shady
    assert sum(halves(view, with_lamp)) < 1.4 * (sunny + shady)
    assert sum(halves(darken, with_lamp)) > 1.4 * (plain_sunny + plain_shady)


def test_classes_that_carry_no_lights_are_refused():
    with pytest.raises(SettingsError, match=r"beyond.lights: got placed with classes field, cow, expected one of"):
        PlacedLights(("field", "cow"))


def first_losses(config):
    feed = open_feed(config, "train", ALONE)
    torch.manual_seed(0)
    adaptation = build_adaptation(config, "train", feed.class_shares, ALONE)
    result = StepResult()
    adaptation.step.adapt(Part(next(feed.inputs(0, 1)), result, 1.0))
    return {name: float(value) for name, value in result.losses.items()} | {"next": float(torch.rand(1))}


def test_a_run_draws_all_else_as_before(tiny_run):
    changes = {"beyond__teacher": 0.9, "beyond__mixing": 1.0, "beyond__darkening": 1.0, "loss__target_losses": False}
    plain = first_losses(tiny_run(**changes))
    placed = first_losses(tiny_run(**changes, beyond__lights="placed"))
    differ = {name for name in plain if plain[name] != placed[name]}
    assert differ == {"segmentation", "mixing"}
