"""`CellModel`: a trained network and its description, ready to classify and explain crops."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Unpack

import numpy as np
from numpy.typing import NDArray

from cellcam.models.device import keep_freed_memory
from cellcam.models.engine import Engine, TorchEngine
from cellcam.models.spec import ModelSpec
from cellcam.models.training_cells import TrainingCells
from cellcam.models.unlike import Unlikeness, unlike_cells

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from cellcam.explain.baselines import Baseline
    from cellcam.explain.explanation import Explanation
    from cellcam.explain.integrated_gradcam import IntegratedGradCAM
    from cellcam.explain.scores import ClassIndex
    from cellcam.explain.settings import SettingOptions

# A CPU is slower with more, which its caches do not hold, and answers sooner with fewer.
_EXPLANATION_BATCH, _EXPLANATION_BATCH_ON_CPU = 64, 16
# What the estimated error of an explanation depends on.
_EXPLAINED_BY = frozenset({"target_layer", "formula", "baseline"})


class CellModel:
    """A classifier of cells, ready to use.

    Attributes
    ----------
    spec : `ModelSpec`
    network : module in evaluation mode
    device : where it runs
    training_cells : what the cells of its training look like; None where the folder does not say
    engine : computes its calls; explanations are always computed with torch
    cells_at_once : number of cells to explain together
    """

    def __init__(
        self,
        spec: ModelSpec,
        network: nn.Module,
        device: torch.device,
        training_cells: TrainingCells | None = None,
        engine: Engine | None = None,
    ) -> None:
        self.spec = spec
        self.training_cells = training_cells
        self.network = network.to(device).eval()
        self.device = device
        on_cpu = device.type == "cpu"
        if on_cpu:
            keep_freed_memory()
        self._torch = TorchEngine(self.network, device, spec.input_shape)
        self.engine = engine or self._torch
        self.cells_at_once = _EXPLANATION_BATCH_ON_CPU if on_cpu else _EXPLANATION_BATCH

    def with_spec(self, **changes: object) -> CellModel:
        """The same network with some entries of its description changed.

        How far estimated errors are from true ones is known only as the model explains by itself.
        """
        if _EXPLAINED_BY & changes.keys():
            changes = {"error_factor": 1.0, **changes}
        spec = self.spec.model_copy(update=changes)
        engine = self.engine if spec.input_shape == self.spec.input_shape else None
        return CellModel(spec, self.network, self.device, self.training_cells, engine)

    def with_training_cells(self, cells: TrainingCells) -> CellModel:
        """The same network that knows what the cells of its training look like."""
        return CellModel(self.spec, self.network, self.device, cells, self.engine)

    def normalised(self, crops: NDArray[np.generic]) -> Tensor:
        """Input of the network for raw crops (N, C, *crop_size): float32, on the device."""
        return self.spec.normalisation.of_crops(crops, self.device)

    def black(self) -> Tensor:
        """The black image, zero counts in every channel, after normalisation: (1, C, 1, 1)."""
        return self.spec.normalisation.of_black(self.spec.spatial_dims, self.device)

    def logits(self, crops: NDArray[np.generic]) -> Tensor:
        """Class scores before softmax, (N, n_classes) float32, on the CPU."""
        import torch

        scores = torch.empty(len(crops), len(self.spec.classes))
        with torch.inference_mode():
            for part in self.engine.batches.over(len(crops)):
                with self.engine.batches.fits():
                    scores[part] = self.engine.scores(self.normalised(crops[part])).cpu()
        return scores

    def probabilities(self, crops: NDArray[np.generic]) -> NDArray[np.float32]:
        """Calibrated class probabilities of raw crops: (N, n_classes) float32."""
        scores = self.logits(crops) / self.spec.temperature
        return scores.softmax(1).numpy()

    def unlike(self, crops: NDArray[np.generic]) -> Unlikeness:
        """How unlike the training cells raw crops (N, C, *crop_size) are, and in what."""
        if self.training_cells is None:
            return Unlikeness.unknown(len(crops))
        spec = self.spec
        return unlike_cells(self.training_cells, crops, spec.normalisation, spec.channels)

    def explain(
        self,
        crops: NDArray[np.generic],
        class_idx: ClassIndex = None,
        **settings: Unpack[SettingOptions],
    ) -> Explanation:
        """Integrated Grad-CAM of raw crops, with the formula and baseline of the model.

        ``settings`` are the keyword arguments of a call of `IntegratedGradCAM`.
        """
        return self.explainer(self.normalised(crops), class_idx, **settings)

    def explain_differences(
        self,
        crops: NDArray[np.generic],
        pairs: Sequence[tuple[int, int]] | Tensor,
        **settings: Unpack[SettingOptions],
    ) -> Explanation:
        """Why one class rather than another: complete maps of differences of two logits.

        They add up to the change of the difference from the baseline to the crop; positive values
        speak for the first class of a pair, negative ones for the second.

        Parameters
        ----------
        pairs : K pairs of classes for every crop, or an (N, K, 2) tensor of pairs crop by crop; a
            second class `MEAN` stands for the mean of all classes
        **settings : keyword arguments of a call of `IntegratedGradCAM`

        Returns
        -------
        `Explanation` of (N, K) differences; its logits are the differences of all pairs
        """
        import torch

        from cellcam.explain.differences import ScoreDifferences

        explainer = self._differences
        network = explainer.nn_module
        assert isinstance(network, ScoreDifferences)
        index = network.index(torch.as_tensor(pairs))
        return explainer(
            self.normalised(crops), index if index.ndim > 1 else index.tolist(), **settings
        )

    def channel_shares(
        self,
        crops: NDArray[np.generic],
        class_idx: ClassIndex = None,
        baselines: Baseline = "background",
    ) -> NDArray[np.float32]:
        """Drop of a class logit of each crop when a stain is replaced by a baseline: (N, C).

        Negative: the stain speaks against the class.

        Parameters
        ----------
        class_idx : one class of each crop; None: its call
        baselines : replaces the stain; by default the level of empty field
        """
        import torch

        from cellcam.explain.baselines import baseline_images, single_channel_starts
        from cellcam.explain.scores import class_idx_of, select_classes

        def drop(images: Tensor, part: slice) -> Tensor:
            start = baseline_images(baselines, images, self.black())
            scores = self._torch.scores(images)
            called = select_classes(class_idx_of(class_idx, part), scores)[:, :1]
            without = self._torch.scores(single_channel_starts(start, images).flatten(0, 1))
            kept = without.gather(1, called.repeat_interleave(images.shape[1], 0))
            return scores.gather(1, called) - kept.view(len(images), -1)

        # Without paths: the maps that `channels="each"` would give are not needed.
        drops = torch.empty(len(crops), len(self.spec.channels))
        with torch.inference_mode():
            for part in self._torch.batches.over(len(crops)):
                with self._torch.batches.fits():
                    drops[part] = drop(self.normalised(crops[part]), part).cpu()
        return drops.numpy()

    @cached_property
    def explainer(self) -> IntegratedGradCAM:
        """Integrated Grad-CAM with the layer, formula and baseline of the model."""
        # Kept, because it keeps the facts about the network.
        from cellcam.explain.integrated_gradcam import IntegratedGradCAM

        spec = self.spec
        return IntegratedGradCAM(
            self.network,
            spec.target_layer,
            black=self.black(),
            formula=spec.formula,
            baselines=spec.baseline,
            error_factor=spec.error_factor,
        )

    @cached_property
    def _differences(self) -> IntegratedGradCAM:
        """`explainer` for differences of two classes, which only the complete formula can give."""
        from cellcam.explain.differences import ScoreDifferences
        from cellcam.explain.integrated_gradcam import IntegratedGradCAM

        return IntegratedGradCAM(
            ScoreDifferences(self.network, len(self.spec.classes)),
            f"network.{self.spec.target_layer}",
            black=self.black(),
            formula="complete",
            baselines=self.spec.baseline,
            error_factor=self.spec.error_factor if self.spec.formula == "complete" else 1.0,
        )

    @cached_property
    def layers(self) -> dict[str, tuple[int, ...]]:
        """Layers that can be explained, and the spatial shape of their output for one crop.

        The last layer of each shape, which knows most of the cell, and the layer of the model;
        in the order in which they run.
        """
        import torch

        from cellcam.explain.network.target import spatial_layers

        one = torch.zeros(1, len(self.spec.channels), *self.spec.crop_size, device=self.device)
        shapes = {name: tuple(shape) for name, shape in spatial_layers(self.network, one).items()}
        last = {shape: name for name, shape in shapes.items()}
        target = self.spec.target_layer
        kept = {*last.values(), target}
        found = {name: shape for name, shape in shapes.items() if name in kept}
        if target not in found:  # a row of tokens, or features last
            with suppress(ValueError):
                found[target] = self._space_of(target, one)
        return found

    def _space_of(self, layer: str, crop: Tensor) -> tuple[int, ...]:
        """Spatial shape of a layer; `ValueError` where it has none, or its layout is in doubt."""
        import torch

        from cellcam.explain.network.splitting import left_as_it_was
        from cellcam.explain.network.target import Target, split_network

        with left_as_it_was(self.network), torch.no_grad():
            space = split_network(self.network, Target(layer), crop).layout.space
        if space.numel() < 2:
            raise ValueError(f"Layer {layer!r} has a single position.")
        return tuple(space)
