from __future__ import annotations

import torch

from dannet_core.networks.deeplabv2 import AtrousPyramid


def test_the_branches_in_use_are_summed_and_the_others_stay_untrained_in_the_state_dict():
    torch.manual_seed(5)
    paper, official = AtrousPyramid(8, 3, branches=4), AtrousPyramid(8, 3, branches=2)
    official.load_state_dict(paper.state_dict(), strict=True)
    x = torch.randn(1, 8, 40, 40)
    each = [branch(x) for branch in paper.branches]
    assert torch.allclose(paper(x), sum(each), atol=1e-5)
    assert torch.allclose(official(x), each[0] + each[1], atol=1e-5)
    assert not torch.allclose(paper(x), official(x), atol=1e-2)
    assert [branch.weight.requires_grad for branch in official.branches] == [True, True, False, False]
