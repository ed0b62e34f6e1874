"""Class scores in what networks return."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest
import torch
from support.networks import images, small_network
from torch import Tensor, nn

from cellcam import IntegratedGradCAM

LAYER = "network.features"


class Returning(nn.Module):
    """The small network, and a function of its scores and features that is returned."""

    def __init__(self, returned: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.network, self.returned = small_network(), returned

    def forward(self, x: Tensor) -> Any:
        features = self.network.features(x)
        return self.returned(self.network.head(features), features)


def maps(network: nn.Module, **settings: Any) -> Tensor:
    output = settings.pop("output", None)
    return IntegratedGradCAM(network, LAYER, output=output)(
        images(), "all", n_steps=3, **settings
    ).maps


def plain(**settings: Any) -> Tensor:
    return maps(Returning(lambda scores, _: scores), **settings)


@pytest.mark.parametrize(
    "returned",
    [
        lambda scores, features: (scores, features),
        lambda scores, features: [features, scores, None],
        lambda scores, features: {"logits": scores, "features": features},
        lambda scores, features: OrderedDict(hidden=(features,), out=scores),
    ],
)
def test_the_only_scores_among_several_outputs_are_found(
    returned: Callable[[Tensor, Tensor], Any],
) -> None:
    torch.testing.assert_close(maps(Returning(returned)), plain())


@pytest.mark.parametrize(
    "output", ["main", lambda returned: returned["main"], lambda returned: returned["other"] / 2]
)
def test_an_output_is_chosen(output: Any) -> None:
    network = Returning(lambda scores, _: {"main": scores, "other": 2 * scores})
    torch.testing.assert_close(maps(network, output=output), plain())


def test_several_outputs_are_refused_with_the_choices() -> None:
    network = Returning(lambda scores, _: {"main": scores, "other": 2 * scores})
    with pytest.raises(ValueError, match=r"'main' \(1, 3\), 'other' \(1, 3\)"):
        maps(network)
    with pytest.raises(ValueError, match=r"'third' is no tensor.*'main'"):
        maps(network, output="third")
    with pytest.raises(ValueError, match="no output that can be class scores.*Choose output="):
        maps(Returning(lambda _, features: (features.flatten(), "words")))
    with pytest.raises(ValueError, match="not str"):
        maps(Returning(lambda scores, features: "words"))


@pytest.mark.parametrize("squeezed", [False, True])
def test_one_logit_has_a_negative_and_a_positive_class(squeezed: bool) -> None:
    """z as logit of class 1 and -z of class 0; probabilities sigmoid(z) and sigmoid(-z)."""
    network = Returning(lambda scores, _: scores[:, 0] if squeezed else scores[:, :1])
    ours = IntegratedGradCAM(network, LAYER)(images(), "all", n_steps=3)
    torch.testing.assert_close(ours.maps[:, 1], plain()[:, 0])
    torch.testing.assert_close(ours.logits[:, 0], -ours.logits[:, 1])
    assert "class 0 is its negative" in ours.output
    # The softmax of two logits 0 and z is the sigmoid of z.
    two = Returning(lambda scores, _: torch.stack([0 * scores[:, 0], scores[:, 0]], 1))
    for score in ("probability", "log_probability"):
        torch.testing.assert_close(maps(network, score=score), maps(two, score=score))


@pytest.mark.parametrize("last", [nn.Softmax(1), nn.LogSoftmax(-1), lambda z: z.softmax(1)])
def test_logits_are_seen_in_front_of_a_softmax(last: Callable[[Tensor], Tensor]) -> None:
    network = Returning(lambda scores, _: last(scores))
    for score in ("logit", "probability", "log_probability"):
        torch.testing.assert_close(maps(network, score=score), plain(score=score))
    found = IntegratedGradCAM(network, LAYER)(images(), n_steps=2)
    assert found.output == "logits in front of the network's softmax"
    torch.testing.assert_close(found.logits, network.network(images()))


def test_logits_are_seen_in_front_of_a_sigmoid() -> None:
    network = Returning(lambda scores, _: scores.sigmoid())
    torch.testing.assert_close(maps(network), plain())
    each = [Returning(lambda scores, _, k=k: scores[:, k]) for k in range(3)]
    alone = torch.stack([maps(one, score="probability")[:, 1] for one in each], 1)
    torch.testing.assert_close(maps(network, score="probability"), alone)


def test_probabilities_of_unseen_logits() -> None:
    network = Returning(lambda scores, _: scores.exp() / scores.exp().sum(1, keepdim=True))
    with pytest.raises(ValueError, match="returns probabilities"):
        maps(network)
    for score in ("probability", "log_probability"):
        torch.testing.assert_close(maps(network, score=score), plain(score=score))


def scores_by_pixel() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 5, 3, padding=1), nn.Tanh(), nn.Conv2d(5, 2, 1)]
    return nn.Sequential(*layers).double()


def test_the_mean_score_of_a_region() -> None:
    network, x = scores_by_pixel(), images()
    region = torch.zeros(16, 16, dtype=torch.bool)
    region[2:5, 3:9] = True
    ours = IntegratedGradCAM(network)(x, "all", n_steps=3, region=region)
    assert ours.target_layer == "1"  # the scores themselves explain nothing
    assert "mean of the region" in ours.output
    classifier = nn.Sequential(network, Mean(region))
    expected = IntegratedGradCAM(classifier, "0.1")(x, "all", n_steps=3)
    torch.testing.assert_close(ours.maps, expected.maps)
    everywhere = IntegratedGradCAM(network)(x, "all", n_steps=3)
    whole = nn.Sequential(network, Mean(torch.ones_like(region)))
    torch.testing.assert_close(
        everywhere.maps, IntegratedGradCAM(whole, "0.1")(x, "all", n_steps=3).maps
    )


class Mean(nn.Module):
    def __init__(self, region: Tensor) -> None:
        super().__init__()
        self.region = region

    def forward(self, scores: Tensor) -> Tensor:
        return scores[:, :, self.region].mean(2)


def test_a_region_for_each_image() -> None:
    network, x = scores_by_pixel(), images()
    regions = torch.zeros(2, 16, 16)
    regions[0, :4], regions[1, 9:] = 1, 1
    both = IntegratedGradCAM(network)(x, "all", n_steps=3, region=regions)
    for i in range(2):
        alone = IntegratedGradCAM(network)(x[i : i + 1], "all", n_steps=3, region=regions[i])
        torch.testing.assert_close(both.maps[i : i + 1], alone.maps)


@pytest.mark.parametrize(
    ("region", "message"),
    [
        (torch.ones(3, 3), "does not fit"),
        (torch.zeros(16, 16), "region is empty"),
        (torch.ones(5, 16, 16), "for each of 2 images"),
    ],
)
def test_wrong_regions_say_what_to_do(region: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        IntegratedGradCAM(scores_by_pixel())(images(), 0, region=region)


def test_a_region_of_a_classifier_is_refused() -> None:
    with pytest.raises(ValueError, match="region= is for"):
        IntegratedGradCAM(small_network())(images(), 0, region=torch.ones(16, 16))
