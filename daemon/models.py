"""The models of a service: their bundles, the engines that serve them, and what is told about them."""

from __future__ import annotations

import logging
import time
from contextlib import ExitStack
from typing import Callable, Dict, List, Mapping

import numpy as np

from sightd import __version__
from sightd.engines import Engine
from sightd.errors import naming
from sightd.manifest import CLASSIFIER, Manifest
from sightd.serving import Serving
from sightd.settings import Settings

from .messages import EngineInfo, InfoMessage, ModelInfo
from .plan import Plan

__all__ = ["Models"]

_log = logging.getLogger(__name__)


class Models:
    """Every model by its bundle's folder; which there are stays the same while the service runs.

    :param manifests: of the bundles.
    :param open_serving: opens what serves a bundle; called on the inference thread.
    """

    def __init__(self, manifests: Mapping[str, Manifest], open_serving: Callable[[str], Serving]) -> None:
        #: Once :meth:`open` has returned, those of what serves, which may be earlier versions, with the same labels.
        self.manifests: Dict[str, Manifest] = dict(manifests)
        self._fallback_reasons: Dict[str, str] = {}
        self._open_serving = open_serving

    @property
    def detectors(self) -> List[str]:
        """Folders of those that look at frames."""
        return [bundle for bundle, manifest in self.manifests.items() if manifest.head != CLASSIFIER]

    @property
    def classifiers(self) -> List[str]:
        """Folders of those that look at crops."""
        return [bundle for bundle in self.manifests if bundle not in self.detectors]

    @property
    def fallback_reason(self) -> str:
        """Why other engines run than the bundles' own, a line each."""
        return "\n".join(filter(None, self._fallback_reasons.values()))

    def open(self, closing: ExitStack) -> Dict[str, Engine]:
        """The engines, warm; *closing* closes them in the reverse order. On the inference thread.

        :raises SightdError: one does not load, fails, or is not the one that its bundle describes.
        """
        engines: Dict[str, Engine] = {}
        for bundle in list(self.manifests):
            started = time.monotonic()
            serving = self._open_serving(bundle)
            engines[bundle] = engine = closing.enter_context(serving.engine)
            with naming(bundle):
                engine.warm_up(np.zeros((720, 1280, 3), np.uint8))
            took_s = time.monotonic() - started
            _log.info("%s: engine ready after %.1f s, batches of up to %d", bundle, took_s, engine.max_batch)
            self.manifests[bundle], self._fallback_reasons[bundle] = serving.manifest, serving.fallback_reason
        return engines

    def info(self, settings: Settings, plan: Plan) -> InfoMessage:
        """What is told about them with *settings*; the first detector stands for all where there is one place only."""
        models = [
            self._model(bundle, [name for name, rule in plan.rules.items() if rule.bundle == bundle])
            for bundle in self.detectors
        ]
        classifiers = {
            name: self._model(
                settings.classifier_bundle(name),
                [camera for camera, rule in plan.rules.items() if name in {one.name for one in rule.classifiers}],
            )
            for name in settings.classifiers
        }
        return InfoMessage(
            version=__version__,
            node=settings.node_name,
            model=models[0].model,
            engine=models[0].engine,
            labels=list({label: None for model in models for label in model.labels}),
            cameras=list(settings.cameras),
            models=models,
            classifiers=classifiers,
            fallback_reason=self.fallback_reason,
        )

    def _model(self, bundle: str, cameras: List[str]) -> ModelInfo:
        manifest = self.manifests[bundle]
        return ModelInfo(
            bundle=bundle,
            model=manifest.model.name,
            engine=EngineInfo(manifest.engine.kind, manifest.engine.precision, manifest.engine.sha256),
            labels=manifest.labels,
            cameras=cameras,
            fallback_reason=self._fallback_reasons.get(bundle, ""),
        )
