import base64

import cv2
import numpy as np
import pytest

from dannet_core.report.pictures import data_uri, encode, shrink


@pytest.mark.parametrize("webp", [True, False])
def test_labels_are_kept_to_the_bit_and_pictures_nearly(monkeypatch: pytest.MonkeyPatch, webp: bool) -> None:
    monkeypatch.setattr(cv2, "haveImageWriter", lambda _: webp)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    smooth = cv2.resize(rng.integers(0, 256, (3, 4, 3), dtype=np.uint8), (64, 48), interpolation=cv2.INTER_CUBIC)
    kind, _, data = data_uri(encode(labels, labels=True)).partition(";base64,")
    assert kind == f"data:image/{'webp' if webp else 'png'}"
    decoded = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), labels)
    picture = encode(smooth)
    assert data_uri(picture).startswith(f"data:image/{'webp' if webp else 'jpeg'};base64,")
    near = cv2.cvtColor(cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    assert np.abs(near.astype(int) - smooth).mean() < 6


def test_shrinking_labels_makes_no_new_colours() -> None:
    labels = np.random.default_rng(0).choice(np.array([[0, 0, 0], [255, 0, 0]], np.uint8), (90, 160))
    small = shrink(labels, 40, labels=True)
    assert small.shape == (22, 40, 3)
    assert {tuple(color) for color in small.reshape(-1, 3)} == {(0, 0, 0), (255, 0, 0)}
    assert shrink(labels, 400).shape == (90, 160, 3)
